// Settings → Webhook Integrations: the form, the secret, pausing, deleting, the list.

import type { Page } from "@playwright/test";
import { choose, copySecret, deliveryRows, expect, test } from "../fixtures.ts";
import type { Page as ApiPage, Webhook } from "../support/api.ts";
import { responds } from "../support/test-receiver.ts";

async function fill(page: Page, values: { name?: string; url?: string }): Promise<void> {
  if (values.name !== undefined) await page.getByLabel("Webhook Name").fill(values.name);
  if (values.url !== undefined) await page.getByLabel("Endpoint URL").fill(values.url);
}

const save = (page: Page) => page.getByRole("button", { name: "Save Webhook" }).click();

test("every invalid field shows its error, and nothing is saved", async ({ berth, pageOf }) => {
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks/new");
  const name = page.getByLabel("Webhook Name");
  const url = page.getByLabel("Endpoint URL");
  await expect(name).toHaveAttribute("aria-invalid", "false");
  await choose(page, "Authentication Method", "API Key");
  // A new key is generated.
  await page.getByLabel("API Key", { exact: true }).fill("");
  await save(page);
  await expect(name).toHaveAccessibleDescription(/Enter a name/);
  await expect(name).toBeFocused();
  await expect(url).toHaveAccessibleDescription(/Enter a URL/);
  await expect(page.getByLabel("API Key", { exact: true })).toHaveAccessibleDescription(/Enter the API key/);

  for (const [bad, message] of [
    ["your-service.com", /This is not a valid URL/],
    ["file:///etc/passwd", /Use https:\/\/, not file:/],
    ["https://user:word@your-service.com/", /Remove the user name and password/],
    ["https://your-service.com/#top", /Remove the fragment/],
    ["https://10.0.0.1/hook", /is a private address/],
    ["https://169.254.169.254/latest", /metadata/],
    ["https://[::ffff:10.0.0.1]/", /is a private address/],
    [`https://your-service.com/${"x".repeat(2_048)}`, /at most 2048/],
  ] as const) {
    await url.fill(bad);
    await expect(url).toHaveAccessibleDescription(message);
    await expect(url).toHaveAttribute("aria-invalid", "true");
  }
  await url.fill("https://your-service.com/api/webhook");
  await expect(url).toHaveAttribute("aria-invalid", "false");

  await name.fill("x".repeat(101));
  await expect(name).toHaveAccessibleDescription(/At most 100 characters/);
  await name.fill("Ünïcode 漢字 🚢");
  await expect(name).toHaveAttribute("aria-invalid", "false");

  for (const box of await page.getByRole("group", { name: "Event Triggers" }).getByRole("checkbox").all()) await box.uncheck();
  await expect(page.getByText("Select at least one event.")).toBeVisible();

  await page.getByLabel("Header", { exact: true }).fill("X-Webhook-Signature");
  await expect(page.getByLabel("Header", { exact: true })).toHaveAccessibleDescription(/Berth sets this header/);

  await choose(page, "Authentication Method", "OAuth 2.0");
  await expect(page.getByLabel("Token URL")).toHaveAccessibleDescription(/Enter a URL/);
  await expect(page.getByLabel("Client ID")).toHaveAccessibleDescription(/Enter the client id/);
  await expect(page.getByLabel("Client secret")).toHaveAccessibleDescription(/Enter the client secret/);

  await choose(page, "Delivery paths", "Custom paths");
  const path = page.getByRole("group", { name: "Delivery paths" }).locator("..").getByRole("textbox", { name: "Reservation Created" });
  await path.fill("no-slash");
  await expect(path).toHaveAccessibleDescription(/begins with \//);

  await choose(page, "Signing secret", "Use existing");
  await page.getByLabel("Secret", { exact: true }).fill("short");
  await expect(page.getByLabel("Secret", { exact: true })).toHaveAccessibleDescription(/8 to 255 bytes/);

  await page.getByText("Advanced: format, filter, headers, retries, limits, responses, signatures").click();
  await page.getByRole("button", { name: "Add header" }).click();
  await page.getByLabel("Name", { exact: true }).fill("Host");
  await expect(page.getByLabel("Name", { exact: true })).toHaveAccessibleDescription(/Berth sets this header/);
  await page.getByLabel("Retries").selectOption("custom");
  await page.getByLabel("Retry delays").fill("1, soon");
  await expect(page.getByLabel("Retry delays")).toHaveAccessibleDescription(/whole seconds/);
  await page.getByLabel("Concurrent requests").fill("0");
  await expect(page.getByLabel("Concurrent requests")).toHaveAccessibleDescription(/Choose 1 to 2000/);

  await save(page);
  await expect(page).toHaveURL(/\/settings\/webhooks\/new$/);
  expect((await berth.api.get<ApiPage<Webhook>>("/webhooks")).items).toEqual([]);
});

test("the preview shows the URL of each event", async ({ pageOf }) => {
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks/new");
  await fill(page, { url: "https://your-service.com/api/webhook/?key=1" });
  const calls = page.getByText("Requests will be sent to").locator("..").getByRole("listitem");
  const created = calls.filter({ hasText: "Reservation Created" });
  const cancelled = calls.filter({ hasText: "Reservation Cancelled" });
  await expect(created).toContainText("POST https://your-service.com/api/webhook/reservation?key=1");
  await expect(cancelled).toContainText("POST https://your-service.com/api/webhook/reservation/cancel?key=1");
  await expect(calls).toHaveCount(3);
  await page.getByRole("checkbox", { name: "Access Requested" }).check();
  await expect(calls.filter({ hasText: "Access Requested" })).toContainText("/api/webhook/access-request?key=1");
  await choose(page, "Delivery paths", "Single URL");
  await expect(created).toContainText("POST https://your-service.com/api/webhook/?key=1");
  await choose(page, "Delivery paths", "Custom paths");
  await page.getByRole("textbox", { name: "Reservation Created" }).fill("/v2/new");
  await expect(created).toContainText("POST https://your-service.com/api/webhook/v2/new?key=1");
});

test("another server needs the stored credentials again", async ({ berth, pageOf, receiver }) => {
  const [service, other] = [await receiver(), await receiver()];
  const headers = [{ name: "X-Own-Token", value: "own-token-8675309" }];
  const auth = { method: "api_key", header: "X-API-Key", key: "the-key-of-your-service" };
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint, auth, headers });
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}/edit`);
  const key = page.getByLabel("API Key", { exact: true });
  await expect(key).toHaveAccessibleDescription(/Leave empty to keep/);
  await fill(page, { url: `${service.endpoint}/v2` });
  await expect(key).toHaveAccessibleDescription(/Leave empty to keep/);
  await fill(page, { url: other.endpoint });
  await expect(key).toHaveAccessibleDescription(/does not send a stored one to another server/);
  await save(page);
  const token = page.getByLabel("Value");
  await expect(token).toHaveValue("");
  await expect(token).toHaveAccessibleDescription(/does not send a stored one to another server/);
  expect((await berth.api.get<Webhook>(`/webhooks/${webhook.id}`)).endpoint_url).toBe(service.endpoint);
  await key.fill("the-key-of-the-other");
  await token.fill("another-token");
  await save(page);
  await expect.poll(async () => (await berth.api.get<Webhook>(`/webhooks/${webhook.id}`)).endpoint_url).toBe(other.endpoint);
});

test("OAuth 2.0, custom headers, custom paths and an existing secret are saved and can be edited", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks/new");
  await fill(page, { name: "Everything", url: service.endpoint });
  await choose(page, "Authentication Method", "OAuth 2.0");
  await page.getByLabel("Token URL").fill(service.endpoint.replace("/api/webhook", "/token"));
  await page.getByLabel("Client ID").fill("berth");
  await page.getByLabel("Client secret").fill("not-to-be-seen");
  await choose(page, "Delivery paths", "Single URL");
  await choose(page, "Signing secret", "Use existing");
  await page.getByLabel("Secret", { exact: true }).fill("your-secret-key");
  await page.getByText("Advanced: format, filter, headers, retries, limits, responses, signatures").click();
  await page.getByLabel("Payload format").selectOption({ label: "CloudEvents, structured" });
  await expect(page.getByLabel("Payload format")).toHaveAccessibleDescription(/one JSON object/);
  await page.getByRole("button", { name: "Add header" }).click();
  await page.getByLabel("Name", { exact: true }).fill("X-Team");
  await page.getByLabel("Value").fill("gpu");
  await page.getByLabel("Rate limit (per second)").fill("50");
  await page.getByRole("checkbox", { name: "Responses update the reservation" }).uncheck();
  await page.getByRole("checkbox", { name: "Also sign with Ed25519" }).check();
  await save(page);
  expect(await copySecret(page, "Signing secret")).toBe("your-secret-key");
  await expect(page.getByText("OAuth 2.0, token URL")).toBeVisible();
  await expect(page.getByText("50 per second")).toBeVisible();
  await expect(page.getByText("Logged only")).toBeVisible();

  // The secret was shown only once.
  await page.reload();
  await expect(page.getByRole("heading", { name: "Everything" })).toBeVisible();
  await page.getByRole("link", { name: "Settings", exact: true }).click();
  await expect(page.getByText("your-secret-key")).toHaveCount(0);
  await expect(page.getByText("not-to-be-seen")).toHaveCount(0);
  const publicKey = await page.getByLabel("Ed25519 public key", { exact: true }).innerText();

  await page.getByLabel("Webhook Name").fill("Renamed");
  await choose(page, "Authentication Method", "API Key");
  // A different method needs its own credentials; the stored ones do not apply.
  await save(page);
  await expect(page.getByLabel("API Key", { exact: true })).toHaveAccessibleDescription(/Enter the API key/);
  await page.getByLabel("API Key", { exact: true }).fill("k1");
  await save(page);
  await expect(page.getByText("Saved.", { exact: true })).toBeVisible();
  await expect(page.getByRole("heading", { name: "Renamed", level: 1 })).toBeVisible();
  const [saved] = (await berth.api.get<ApiPage<Webhook>>("/webhooks")).items;
  expect(saved).toMatchObject({ name: "Renamed", auth: { method: "api_key", header: "X-API-Key" }, rate_limit: 50 });
  expect(saved).toMatchObject({ headers: [{ name: "X-Team", value: "gpu" }], delivery_paths: { layout: "single" } });
  expect(saved).toMatchObject({ provisions: false, public_key: publicKey, payload_format: "cloudevents_structured" });

  await page.getByRole("button", { name: "Test Webhook" }).click();
  await expect(page.getByText("The receiver responded with 200.")).toBeVisible();
  expect(service.received.at(-1)?.headers).toMatchObject({ "x-api-key": "k1", "x-team": "gpu", "x-webhook-test": "true" });
  expect(service.received.at(-1)?.headers["content-type"]).toBe("application/cloudevents+json");
});

test("a rotated secret signs at once, together with the old one during the overlap", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}?tab=settings`);
  await page.getByRole("button", { name: "Rotate secret" }).click();
  const dialog = page.getByRole("dialog", { name: "Rotate signing secret" });
  await dialog.getByLabel("Keep signing with the old secret for").selectOption("24");
  await dialog.getByRole("button", { name: "Rotate secret", exact: true }).click();
  const secret = await copySecret(page, "Signing secret");
  expect(secret).not.toBe(webhook.secret);
  await expect(page.getByText("Previous secret also signs until")).toBeVisible();
  await expect(page.getByText(`Current secret: …${secret.slice(-4)}`)).toBeVisible();
  await berth.api.post(`/webhooks/${webhook.id}/test`);
  expect(String(service.received.at(-1)?.headers["webhook-signature"]).split(" ")).toHaveLength(2);
});

test("a new secret is not lost by Escape, navigation or a reload before it was copied", async ({ pageOf }) => {
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks");
  await page.getByRole("link", { name: "Add New Webhook" }).click();
  await fill(page, { name: "Careful", url: "http://127.0.0.1:9/api/webhook" });
  await save(page);
  const dialog = page.getByRole("dialog", { name: "Careful created" });
  const secret = await dialog.getByLabel("Signing secret", { exact: true }).innerText();
  expect(secret).toMatch(/^whsec_/);
  for (let n = 0; n < 3; n += 1) await page.keyboard.press("Escape");
  await expect(dialog).toBeVisible();
  await expect(dialog.getByRole("button", { name: "Close", exact: true })).toHaveCount(0);
  // The page behind the dialog changes, and the secret stays.
  await page.goBack();
  await expect(page).toHaveURL(/\/settings\/webhooks\/new$/);
  await expect(dialog.getByLabel("Signing secret", { exact: true })).toHaveText(secret);
  // The browser asks before it reloads the page.
  const asked = page.waitForEvent("dialog");
  await page.evaluate(() => setTimeout(() => location.reload()));
  const question = await asked;
  expect(question.type()).toBe("beforeunload");
  await question.dismiss();
  await expect(dialog.getByLabel("Signing secret", { exact: true })).toHaveText(secret);
  // Copying the selected text counts, as where the browser does not offer its clipboard.
  await dialog.getByLabel("Signing secret", { exact: true }).selectText();
  await page.keyboard.press("Control+c");
  await dialog.getByRole("button", { name: "Done" }).click();
  await expect(dialog).toBeHidden();
  await page.reload();
  await expect(page.getByText(secret)).toHaveCount(0);
});

test("a rotated secret and a new token are not lost by Escape", async ({ berth, pageOf }) => {
  const webhook = await berth.api.webhook({ name: "Rotated", endpoint_url: "http://127.0.0.1:9/api/webhook" });
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}?tab=settings`);
  await page.getByRole("button", { name: "Rotate secret" }).click();
  await page.getByRole("dialog", { name: "Rotate signing secret" }).getByRole("button", { name: "Rotate secret" }).click();
  const rotated = page.getByRole("dialog", { name: "New signing secret of Rotated" });
  await expect(rotated).toBeVisible();
  for (let n = 0; n < 3; n += 1) await page.keyboard.press("Escape");
  await rotated.getByRole("button", { name: "Close anyway" }).click();
  await expect(page.getByRole("button", { name: "Rotate secret" })).toBeFocused();

  await page.goto("/settings/tokens");
  await page.getByRole("button", { name: "New token" }).click();
  await page.getByRole("dialog", { name: "New API token" }).getByLabel("Name").fill("careful");
  await page.keyboard.press("Enter");
  const created = page.getByRole("dialog", { name: "New API token careful" });
  await expect(created).toBeVisible();
  for (let n = 0; n < 3; n += 1) await page.keyboard.press("Escape");
  await expect(created).toBeVisible();
  await created.getByRole("button", { name: "Copy" }).click();
  await created.getByRole("button", { name: "Done" }).click();
  await expect(page.getByRole("button", { name: "New token" })).toBeFocused();
});

test("failures and success rates are shown in numbers that are true", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(500));
  const webhook = await berth.api.webhook({ name: "Flaky", endpoint_url: service.endpoint, retry: { waits: [] } });
  const resource = await berth.resource();
  service.behaviour = responds(200);
  await berth.api.reserve(resource.id, 1);
  await expect.poll(() => service.received.length).toBe(1);
  service.behaviour = responds(500);
  await berth.api.reserve(resource.id, 5);
  await expect.poll(() => service.received.length).toBe(2);
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}`);
  await expect(page.getByText("1 of 2 deliveries failed in the last 24 hours.")).toBeVisible();
  await expect(page.getByText(/most/i)).toHaveCount(0);

  // 2 of 14 are 14.28… %. Only all are 100 %, and only none are 0 %.
  let rate = 0;
  await page.route("**/rpc/list-webhooks", async (route) => {
    const response = await route.fetch();
    const json = await response.json();
    for (const item of json.items) item.summary.success_rate = rate;
    await route.fulfill({ response, json });
  });
  for (const [share, text] of [[2 / 14, "14.3%"], [0.29, "29%"], [0.9996, "99.9%"], [0.0004, "0.1%"], [1, "100%"], [0, "0%"]] as const) {
    rate = share;
    await page.goto("/settings/webhooks");
    await expect(page.getByRole("row").filter({ hasText: "Flaky" }).locator('[data-label="Success rate"]')).toHaveText(text);
  }
  await page.unrouteAll({ behavior: "ignoreErrors" });
});

test("Test Webhook always sends", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ name: "Tested", endpoint_url: service.endpoint });
  const page = await pageOf("admin");
  const dialog = page.getByRole("dialog", { name: "Test Tested" });
  await page.goto("/settings/webhooks");
  await page.getByRole("button", { name: "Test Webhook Tested" }).click();
  await expect(dialog.getByText("The receiver responded with 200.")).toBeVisible();
  expect(service.received).toHaveLength(1);
  await dialog.getByLabel("Event").selectOption("reservation.cancelled");
  await dialog.getByRole("button", { name: "Test Webhook" }).click();
  await expect.poll(() => service.received.at(-1)?.headers["x-webhook-event"]).toBe("reservation.cancelled");
  await page.goto(`/settings/webhooks/${webhook.id}`);
  await page.getByRole("button", { name: "Test Webhook" }).click();
  await expect(dialog.getByText("The receiver responded with 200.")).toBeVisible();
  expect(service.received).toHaveLength(3);
});

test("the input of a dialog stays when its title changes", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ name: "Counting", endpoint_url: service.endpoint });
  const resource = await berth.resource();
  await berth.api.post(`/webhooks/${webhook.id}/pause`, {});
  await berth.api.reserve(resource.id, 1);
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}`);
  await page.getByRole("button", { name: "Resume and discard 1 queued event…" }).click();
  const typed = page.getByLabel("Number of events to discard");
  await typed.fill("1");
  await berth.api.reserve(resource.id, 5);
  // A change of the webhook brings the number to the page.
  await berth.api.call("PATCH", `/webhooks/${webhook.id}`, { max_in_flight: 63 });
  await expect(page.getByRole("dialog", { name: "Discard 2 queued events?" })).toBeVisible();
  await expect(page.getByRole("heading", { name: "Discard 2 queued events?" })).toBeVisible();
  await expect(typed).toHaveValue("1");
});

test("a paused webhook queues events; resuming delivers or discards them", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ name: "Pausing", endpoint_url: service.endpoint });
  const resource = await berth.resource();
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks");
  const row = page.getByRole("row").filter({ hasText: "Pausing" });
  const delivers = row.getByRole("switch", { name: "Enable Pausing" });
  await expect(delivers).toBeChecked();
  await delivers.click();
  await expect(delivers).not.toBeChecked();
  await expect(row).toContainText("Paused");

  await berth.api.reserve(resource.id, 1);
  await page.goto(`/settings/webhooks/${webhook.id}`);
  await expect(page.getByText("1 event is queued")).toBeVisible();
  expect(service.received).toEqual([]);
  await page.getByRole("button", { name: "Resume deliveries", exact: true }).click();
  await expect(page.getByText("This webhook is paused")).toBeHidden();
  await expect.poll(() => service.received.length).toBe(1);

  await page.getByRole("switch", { name: "Enable Pausing" }).click();
  await expect(page.getByText("This webhook is paused")).toBeVisible();
  await berth.api.reserve(resource.id, 5);
  await page.reload();
  // Discarding cannot be undone, so it needs a confirmation.
  await page.getByRole("button", { name: "Resume and discard 1 queued event…" }).click();
  const confirm = page.getByRole("dialog", { name: "Discard 1 queued event?" });
  await confirm.getByRole("button", { name: "Keep events" }).click();
  await expect(confirm).toBeHidden();
  await expect(page.getByText("1 event is queued")).toBeVisible();
  await page.getByRole("button", { name: "Resume and discard 1 queued event…" }).click();
  // The user types how many events are discarded.
  await confirm.getByLabel("Number of events to discard").fill("2");
  await confirm.getByRole("button", { name: "Discard and resume" }).click();
  await expect(confirm.getByText("Type 1, the number of queued events.")).toBeVisible();
  await confirm.getByLabel("Number of events to discard").fill("1");
  await confirm.getByRole("button", { name: "Discard and resume" }).click();
  await expect(page.getByText("Discarded 1 queued event and resumed Pausing.")).toBeVisible();
  await expect(page.getByText("This webhook is paused")).toBeHidden();
  await page.getByRole("link", { name: "Deliveries" }).last().click();
  await expect(deliveryRows(page).filter({ hasText: "Cancelled" })).toHaveCount(1);
  expect(service.received).toHaveLength(1);
});

test("deleting a webhook needs a confirmation", async ({ berth, pageOf }) => {
  const webhook = await berth.api.webhook({ name: "Short-lived", endpoint_url: "http://127.0.0.1:9/api/webhook" });
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}?tab=settings`);
  const dialog = page.getByRole("dialog", { name: "Delete this webhook?" });
  await page.getByRole("button", { name: "Delete webhook" }).click();
  await dialog.getByRole("button", { name: "Keep webhook" }).click();
  await expect(dialog).toBeHidden();
  expect((await berth.api.raw("GET", `/webhooks/${webhook.id}`)).status).toBe(200);
  await page.getByRole("button", { name: "Delete webhook" }).click();
  await dialog.getByRole("button", { name: "Delete webhook", exact: true }).click();
  await expect(page).toHaveURL(/\/settings\/webhooks$/);
  await expect(page.getByRole("heading", { name: "No webhooks yet" })).toBeVisible();
  expect((await berth.api.raw("GET", `/webhooks/${webhook.id}`)).status).toBe(404);
});

test("the list shows the health of each webhook and updates itself", async ({ berth, pageOf, receiver }) => {
  const good = await receiver();
  const bad = await receiver(responds(500, { detail: "out of GPUs" }));
  await berth.api.webhook({ name: "Good one", endpoint_url: good.endpoint });
  await berth.api.webhook({ name: "Bad one", endpoint_url: bad.endpoint, retry: { waits: [] } });
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks");
  const row = (name: string) => page.getByRole("row").filter({ hasText: name });
  await expect(row("Good one")).toContainText("Never");
  const resource = await berth.resource();
  await berth.api.reserve(resource.id);
  await expect(row("Good one")).toContainText("Healthy");
  await expect(row("Good one")).toContainText("100%");
  await expect(row("Bad one")).toContainText("Failing");
  await expect(row("Bad one")).toContainText(/Failing\s*0%/);
});

test("only administrators can open webhook settings", async ({ pageOf }) => {
  const page = await pageOf("alice");
  await page.goto("/");
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
  await expect(page.getByRole("link", { name: "Webhook Integrations" })).toHaveCount(0);
  await page.goto("/settings/webhooks");
  await expect(page.getByRole("alert")).toContainText("Not allowed");
});
