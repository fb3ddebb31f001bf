// The set-up of a webhook in three steps: endpoint, security, and the checks before it is saved. Then the signature checker.

import { createHmac } from "node:crypto";
import type { Page } from "@playwright/test";
import { choose, copySecret, expect, test } from "../fixtures.ts";
import type { Page as ApiPage, Webhook } from "../support/api.ts";
import { inspect } from "../support/screens.ts";
import { type Behaviour, responds } from "../support/test-receiver.ts";

/** The `X-Webhook-Signature` of a body. */
function sign(secret: string, body: Buffer | string): string {
  return `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
}

/** Responds with 401 to a wrong signature. */
function verifies(secret: string): Behaviour {
  return (response, request) => {
    const isValid = request.method === "GET" || request.headers["x-webhook-signature"] === sign(secret, request.body);
    const behaviour = isValid ? responds(200) : responds(401, { detail: "Invalid webhook signature" });
    return behaviour(response, request);
  };
}

/** Opens the form with a name and a URL. Returns the generated secret. */
async function open(page: Page, url: string): Promise<string> {
  await page.goto("/settings/webhooks/new");
  await page.getByLabel("Webhook Name").fill("GPU Cluster Manager");
  await page.getByLabel("Endpoint URL").fill(url);
  return page.getByLabel("Generated secret", { exact: true }).innerText();
}

const row = (page: Page, title: string) => page.getByRole("list", { name: "Checks" }).getByRole("listitem").filter({ hasText: title });

test("fields of the guide come in its order, with its choices, and are enough to save", async ({ berth, pageOf }) => {
  const admin = await pageOf("admin");
  await admin.goto("/settings/webhooks/new");
  const fields = [
    admin.getByLabel("Webhook Name"),
    admin.getByLabel("Endpoint URL"),
    admin.getByLabel("Resource Type"),
    admin.getByRole("group", { name: "Authentication Method" }),
    admin.getByRole("group", { name: "Event Triggers" }),
  ];
  const tops = await Promise.all(fields.map(async (field) => (await field.boundingBox())?.y ?? 0));
  expect(tops).toEqual([...tops].sort((one, other) => one - other));
  await expect(admin.getByRole("radio", { name: /^API Key/ })).toBeChecked();
  const triggers = admin.getByRole("group", { name: "Event Triggers" });
  for (const [name, isTicked] of [["Created", true], ["Modified", true], ["Cancelled", true], ["Expired", false]] as const) {
    await expect(triggers.getByRole("checkbox", { name: `Reservation ${name}` })).toBeChecked({ checked: isTicked });
  }
  await fields[0]?.fill("GPU Cluster Manager");
  await fields[1]?.fill("http://127.0.0.1:9/api/webhook");
  await fields[2]?.selectOption("gpu-cluster");
  const generated = await admin.getByLabel("Generated secret", { exact: true }).innerText();
  await admin.getByRole("button", { name: "Save Webhook" }).click();
  expect(await copySecret(admin, "Signing secret")).toBe(generated);
  const [saved] = (await berth.api.get<ApiPage<Webhook>>("/webhooks")).items;
  expect(saved).toMatchObject({ auth: { method: "api_key", header: "X-API-Key" }, secret_hint: generated.slice(-4) });
});

test("draft survives leaving the page, without its secrets", async ({ pageOf }) => {
  const page = await pageOf("admin");
  await open(page, "https://your-service.com/api/webhook");
  await choose(page, "Authentication Method", "OAuth 2.0");
  await page.getByLabel("Client ID").fill("berth");
  await page.getByLabel("Client secret").fill("not-to-be-stored");
  await page.getByRole("checkbox", { name: "Reservation Expired" }).check();
  await page.getByText("Advanced: format, filter, headers, retries, limits, responses, signatures").click();
  await page.getByRole("button", { name: "Add header" }).click();
  await page.getByLabel("Name", { exact: true }).fill("X-Own-Token");
  await page.getByLabel("Value").fill("not-to-be-stored");
  await page.getByRole("link", { name: "Cancel" }).click();
  await expect(page.getByRole("heading", { name: "Webhook Integrations", level: 1 })).toBeVisible();
  expect(await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]))).not.toMatch(/not-to-be-stored|whsec_/);

  await page.goto("/settings/webhooks/new");
  await expect(page.getByText("Your draft was restored.")).toBeVisible();
  await expect(page.getByLabel("Webhook Name")).toHaveValue("GPU Cluster Manager");
  await expect(page.getByLabel("Endpoint URL")).toHaveValue("https://your-service.com/api/webhook");
  await expect(page.getByLabel("Client ID")).toHaveValue("berth");
  await expect(page.getByLabel("Client secret")).toHaveValue("");
  await expect(page.getByRole("checkbox", { name: "Reservation Expired" })).toBeChecked();
  await page.getByText("Advanced: format, filter, headers, retries, limits, responses, signatures").click();
  await expect(page.getByLabel("Name", { exact: true })).toHaveValue("X-Own-Token");
  await expect(page.getByLabel("Value")).toHaveValue("");
  await page.getByRole("button", { name: "Discard draft" }).click();
  await expect(page.getByLabel("Webhook Name")).toHaveValue("");
  await page.reload();
  await expect(page.getByLabel("Webhook Name")).toHaveValue("");
  await expect(page.getByText("Your draft was restored.")).toHaveCount(0);
});

test("checks before saving name what to change, and nothing is saved", async ({ berth, pageOf, receiver }) => {
  const page = await pageOf("admin");
  const service = await receiver(responds(200));
  // The form is checked first.
  await page.goto("/settings/webhooks/new");
  await page.getByRole("button", { name: "Run checks" }).click();
  await expect(page.getByLabel("Webhook Name")).toBeFocused();
  const secret = await open(page, service.endpoint);
  await page.getByRole("button", { name: "Run checks" }).click();
  await expect(row(page, "Rejects a wrong signature")).toContainText("Failed");
  await expect(row(page, "Rejects a wrong signature")).toContainText("respond with 401");
  await expect(row(page, "Reachable")).toContainText("Passed");
  await expect(page.getByText(/1 check failed after/)).toBeVisible();

  service.behaviour = verifies(secret);
  await page.getByRole("button", { name: "Run checks" }).click();
  for (const title of ["Accepts the signature", "Rejects a wrong signature", "Answers reservation.created", "Answers reservation.cancelled", "Health path"]) {
    await expect(row(page, title)).toContainText("Passed");
  }
  await expect(row(page, "TLS")).toContainText("Warning");
  await expect(page.getByText(/Passed with 1 warning/)).toBeVisible();
  expect(service.received.filter((request) => request.method === "POST").every((request) => request.headers["x-webhook-test"] === "true")).toBe(true);
  expect((await berth.api.get<ApiPage<Webhook>>("/webhooks")).items).toEqual([]);
  await page.getByText("Receiver to start from: Python, Node, Go, Rust, curl").click();
  await expect(page.getByLabel("receiver.py", { exact: true })).toBeVisible();
  await inspect(page, "webhook-setup");

  // Another input makes the result old.
  await page.getByRole("checkbox", { name: "Reservation Expired" }).check();
  await expect(page.getByText("The settings have changed since these checks.")).toBeVisible();
  await service.stop();
  await page.getByRole("button", { name: "Run checks" }).click();
  await expect(row(page, "Reachable")).toContainText("Start your service");
  await expect(row(page, "Answers reservation.expired")).toContainText("Skipped");
});

test("snippets contain the URL and the secret of the form", async ({ pageOf }) => {
  const page = await pageOf("admin");
  const secret = await open(page, "https://your-service.com:8443/api/webhook");
  await page.getByLabel("API Key", { exact: true }).fill("the-key-of-your-service");
  await page.getByText("Receiver to start from: Python, Node, Go, Rust, curl").click();
  const languages = page.getByRole("group", { name: "Language" });
  for (const [language, file, part] of [
    ["Python (FastAPI)", "receiver.py", '@app.post("/api/webhook/reservation/cancel")'],
    ["Node (Express)", "receiver.js", '"/api/webhook/reservation/cancel"'],
    ["Go", "receiver.go", 'http.HandleFunc("/api/webhook/reservation/cancel", handle)'],
    ["Rust (axum)", "src/main.rs", '.route("/api/webhook/reservation/cancel", post(handle))'],
    ["curl", "test.sh", "X-API-Key: the-key-of-your-service"],
  ] as const) {
    await languages.getByRole("button", { name: language, exact: true }).click();
    const code = page.getByLabel(file, { exact: true });
    await expect(code).toContainText(`WEBHOOK_SECRET='${secret}'`);
    await expect(code).toContainText(part);
    await expect(code).toContainText(language === "curl" ? "'https://your-service.com:8443/api/webhook/reservation'" : "8443");
  }
  await choose(page, "Signing secret", "Use existing");
  await page.getByLabel("Secret", { exact: true }).fill("the secret of my service");
  await expect(page.getByLabel("test.sh", { exact: true })).toContainText("WEBHOOK_SECRET='the secret of my service'");
});

test("settings of an existing webhook are checked with its stored secret", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  service.behaviour = verifies(webhook.secret);
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}?tab=settings`);
  await page.getByRole("button", { name: "Run checks" }).click();
  await expect(row(page, "Accepts the signature")).toContainText("Passed");
  await expect(row(page, "Rejects a wrong signature")).toContainText("Passed");
});

test("signature checker names the part that is wrong, without a request", async ({ pageOf }) => {
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks");
  await page.getByRole("link", { name: "Signature checker" }).click();
  await expect(page.getByRole("heading", { name: "Signature checker", level: 1 })).toBeVisible();
  const requests: string[] = [];
  page.on("request", (request) => {
    if (request.method() === "POST") requests.push(request.url());
  });
  const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
  const body = '{"event_type":"reservation.created","title":"Größe"}';
  const check = async (fields: { body?: string; header?: string; secret?: string; previous?: string }) => {
    await page.getByLabel("Request body").fill(fields.body ?? body);
    await page.getByLabel("Request headers").fill(`POST /api/webhook HTTP/1.1\nX-Webhook-Signature: ${fields.header ?? sign(secret, body)}`);
    await page.getByLabel("Signing secret").fill(fields.secret ?? secret);
    await page.getByLabel("Previous secrets").fill(fields.previous ?? "");
    await page.getByRole("button", { name: "Check signature" }).click();
  };
  const result = page.getByRole("region", { name: "Result" });
  await check({});
  await expect(result).toContainText("A receiver should accept this request.");
  for (const [fields, message] of [
    [{ body: `${body}\n` }, /White space/],
    [{ body: body.replace(":", ": ") }, /parsed and serialised again/],
    [{ header: sign(secret, body).slice(7) }, /has no prefix/],
    [{ header: createHmac("sha256", secret).update(body).digest("base64") }, /base64 instead of hex|no prefix/],
    [{ secret: secret.replace("whsec_", "") }, /lacks its prefix/],
    [{ secret: "another-secret-8675309" }, /another secret/],
    [{ secret: "another-secret-8675309", previous: secret }, /previous secret/],
  ] as const) {
    await check(fields);
    await expect(result).toContainText(message);
  }
  await inspect(page, "signature-check");
  await page.getByLabel("Signing secret").fill("");
  await page.getByRole("button", { name: "Check signature" }).click();
  await expect(page.getByLabel("Signing secret")).toHaveAccessibleDescription(/Enter the signing secret/);
  expect(requests).toEqual([]);
});

test("rotation is tested with the new secret, verified by the service, and completed", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ name: "Rotating", endpoint_url: service.endpoint });
  service.behaviour = verifies(webhook.secret);
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}?tab=settings`);
  await page.getByRole("button", { name: "Rotate secret" }).click();
  const dialog = page.getByRole("dialog", { name: "Rotate signing secret" });
  const secret = await dialog.getByLabel("New secret").inputValue();
  expect(secret).toMatch(/^whsec_/);
  await dialog.getByRole("button", { name: "Test new secret" }).click();
  await expect(dialog.getByText("If your service holds only one secret")).toBeVisible();
  service.behaviour = verifies(secret);
  await dialog.getByRole("button", { name: "Test new secret" }).click();
  await expect(dialog.getByText("Your service accepts the new secret.")).toBeVisible();
  await inspect(page, "webhook-rotation");
  await dialog.getByRole("button", { name: "Rotate secret", exact: true }).click();
  expect(await copySecret(page, "Signing secret")).toBe(secret);

  // The service reports the secret of each request.
  service.behaviour = responds(200, { status: "success" }, { "X-Webhook-Secret-Used": "current" });
  const resource = await berth.resource();
  await berth.api.reserve(resource.id);
  await expect.poll(async () => (await berth.api.deliveries(`webhook_id=${webhook.id}&status=succeeded`)).length).toBe(1);
  await page.reload();
  await expect(page.getByText("Verified with the new secret by 1 of the last 1 deliveries.")).toBeVisible();
  await page.getByRole("button", { name: "Revoke previous secret" }).click();
  const confirm = page.getByRole("dialog", { name: "Revoke previous secret?" });
  await confirm.getByRole("button", { name: "Revoke previous secret" }).click();
  await expect(page.getByText("Previous secret also signs until")).toHaveCount(0);
  await berth.api.post(`/webhooks/${webhook.id}/test`);
  expect(String(service.received.at(-1)?.headers["webhook-signature"]).split(" ")).toHaveLength(1);
});

test("tests show the verdict and the reservation, with an edited payload, and can be compared", async ({ berth, pageOf, receiver }) => {
  const access = { access_info: { ip_address: "192.168.100.10", connection_command: "ssh user-alice@192.168.100.10" } };
  const service = await receiver(responds(200, { status: "success", message: "Resource provisioned successfully", details: access }));
  const webhook = await berth.api.webhook({ name: "Tested", endpoint_url: service.endpoint });
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}`);
  await page.getByRole("button", { name: "Test Webhook" }).click();
  const dialog = page.getByRole("dialog", { name: "Test Tested" });
  await expect(dialog.getByRole("heading", { name: /^200 · / })).toBeVisible();
  await expect(dialog.getByRole("heading", { name: /^Provisioning/ })).toHaveText(/Ready$/);
  await expect(dialog.getByText("ssh user-alice@192.168.100.10", { exact: true })).toBeVisible();
  await inspect(page, "webhook-test-result");

  await dialog.getByRole("button", { name: "Edit payload" }).click();
  const payload = dialog.getByLabel("Payload", { exact: true });
  const sample = JSON.parse(await payload.inputValue()) as Record<string, unknown>;
  await payload.fill("{");
  await dialog.getByRole("button", { name: "Test Webhook" }).click();
  await expect(payload).toHaveAccessibleDescription(/not JSON/);
  await payload.fill(JSON.stringify({ ...sample, start_time: "tomorrow" }));
  await dialog.getByRole("button", { name: "Test Webhook" }).click();
  await expect(dialog.getByRole("alert")).toContainText("start_time");
  expect(service.received).toHaveLength(1);
  await payload.fill(JSON.stringify({ ...sample, title: "Größe" }));
  await dialog.getByRole("button", { name: "Test Webhook" }).click();
  await expect.poll(() => service.received.length).toBe(2);
  expect(JSON.parse(String(service.received.at(-1)?.body))).toMatchObject({ title: "Größe", test: true });

  service.behaviour = responds(503, { detail: "no free node" });
  await dialog.getByLabel("Event").selectOption("all");
  await dialog.getByRole("button", { name: "Test Webhook" }).click();
  await expect(dialog.getByRole("heading", { name: /^503 · / })).toHaveCount(3);
  expect(service.received.slice(2).map((request) => request.headers["x-webhook-event"])).toEqual([
    "reservation.created",
    "reservation.updated",
    "reservation.cancelled",
  ]);
  await dialog.getByText("Recent tests", { exact: true }).click();
  const compare = dialog.getByRole("button", { name: /^Compare test of/ });
  await expect(compare).toHaveCount(5);
  await compare.first().click();
  await compare.last().click();
  await expect(dialog.getByText(/^Different: event, verdict, code/)).toBeVisible();
  await inspect(page, "webhook-test-compare");

  // The user does not have to wait for a slow service.
  service.behaviour = () => {};
  await dialog.getByLabel("Event").selectOption("reservation.created");
  await dialog.getByRole("button", { name: "Test Webhook" }).click();
  await expect(dialog.getByText("of at most 30 s")).toBeVisible();
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await expect(dialog.getByText("Cancelled. The service may still process the event")).toBeVisible();
});
