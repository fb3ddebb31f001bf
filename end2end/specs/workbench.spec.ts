// The workbench of deliveries: selection in the address, keyboard, histogram, reasons of a wait, bodies, phone.

import type { Page } from "@playwright/test";
import { deliveryPane, deliveryRows, expect, logInByApi, test } from "../fixtures.ts";
import type { Api, Reservation } from "../support/api.ts";
import { responds } from "../support/test-receiver.ts";

const LIVE = (page: Page) => expect(page.locator(".topbar").getByRole("status")).toHaveText("Live");

/** Makes reservations and waits until their deliveries have ended. */
async function reserveMany(api: Api, resource: number, webhook: number, count: number, first = 0): Promise<Reservation[]> {
  const made: Reservation[] = [];
  for (let n = first; n < first + count; n += 1) made.push(await api.reserve(resource, 1 + 3 * n));
  await expect.poll(async () => (await api.deliveries(`webhook_id=${webhook}&status=pending`)).length).toBe(0);
  return made;
}

test("a selection is in the address, Back returns to the last one, and Escape closes the pane", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(500, { detail: "rack 42 is offline" }));
  const webhook = await berth.api.webhook({ name: "GPU Cluster Manager", endpoint_url: service.endpoint, retry: { waits: [] } });
  await reserveMany(berth.api, (await berth.resource()).id, webhook.id, 3);
  const page = await pageOf("admin");
  await page.goto(`/deliveries?webhook=${webhook.id}`);
  const rows = deliveryRows(page);
  const pane = deliveryPane(page);
  await expect(rows.filter({ hasText: "Failed" })).toHaveCount(3);
  await expect(pane).toHaveCount(0);
  const ids = await rows.evaluateAll((all) => all.map((row) => row.getAttribute("data-id")));

  // A click anywhere in the row selects it.
  await rows.nth(0).getByRole("cell").first().click();
  await expect(page).toHaveURL(new RegExp(`webhook=${webhook.id}&delivery=${ids[0]}$`));
  await expect(rows.nth(0).getByRole("link", { name: "reservation.created" })).toHaveAttribute("aria-current", "true");
  await expect(pane.getByRole("heading", { name: "reservation.created", level: 2 })).toBeVisible();
  await expect(pane.getByText(/500 · attempt 1 of 1/)).toBeVisible();
  await expect(pane.getByText(/responded with 500: .*rack 42 is offline/)).toBeVisible();
  await expect(pane.getByRole("link", { name: "Reservation", exact: true })).toHaveAttribute("href", /^\/reservations\/rsv-/);
  await rows.nth(2).getByRole("link", { name: "reservation.created" }).click();
  await expect(pane).toContainText(ids[2] ?? "");
  await page.goBack();
  await expect(page).toHaveURL(new RegExp(`delivery=${ids[0]}$`));
  await expect(pane).toContainText(ids[0] ?? "");
  await page.reload();
  await expect(pane).toContainText(ids[0] ?? "");

  // j and k move, within the list and with the focus; they add no steps to the history.
  await page.keyboard.press("j");
  await expect(pane).toContainText(ids[1] ?? "");
  await expect(rows.nth(1).getByRole("link", { name: "reservation.created" })).toBeFocused();
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await expect(pane).toContainText(ids[2] ?? "");
  await page.keyboard.press("k");
  await expect(pane).toContainText(ids[1] ?? "");
  await page.goBack();
  await expect(pane).toHaveCount(0);
  await page.keyboard.press("j");
  await expect(pane).toContainText(ids[0] ?? "");
  await page.keyboard.press("Escape");
  await expect(pane).toHaveCount(0);
  await expect(page).toHaveURL(new RegExp(`/deliveries\\?webhook=${webhook.id}$`));
});

test("keys search, copy, redeliver and show their overview, and can be switched off", async ({ berth, browser, receiver }) => {
  const service = await receiver(responds(500));
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint, retry: { waits: [] } });
  await reserveMany(berth.api, (await berth.resource()).id, webhook.id, 1);
  const page = await logInByApi(browser, berth, "admin", { permissions: ["clipboard-read", "clipboard-write"] });
  await page.goto(`/deliveries?webhook=${webhook.id}`);
  const pane = deliveryPane(page);
  await expect(deliveryRows(page)).toHaveCount(1);
  await page.keyboard.press("j");
  await expect(pane.getByText(/responded with 500/).first()).toBeVisible();
  await page.keyboard.press("c");
  await expect(pane.getByRole("button", { name: "Copied" })).toBeVisible();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied).toContain(`curl -i -X POST '${service.endpoint}`);
  expect(copied).toContain("--data-binary '{");
  const url = page.url();
  service.behaviour = responds(200);
  await page.keyboard.press("r");
  await expect(page).not.toHaveURL(url);
  await expect(pane.getByText("Redelivery of")).toBeVisible();

  await page.keyboard.press("/");
  const search = page.getByRole("searchbox", { name: "Search" });
  await expect(search).toBeFocused();
  // In an input, the keys are text.
  await page.keyboard.type("rjc?");
  await expect(search).toHaveValue("rjc?");
  await search.fill("");
  await search.blur();

  await page.keyboard.press("?");
  const dialog = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await expect(dialog).toContainText("Next delivery");
  await dialog.getByRole("switch", { name: "Keyboard shortcuts" }).click();
  await dialog.getByRole("button", { name: "Close" }).click();
  await page.reload();
  await expect(pane.getByText("Redelivery of")).toBeVisible();
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await expect(pane).toBeVisible();
  await expect(dialog).toHaveCount(0);
  await page.context().close();
});

test("while a delivery is selected, new rows are announced and the list stays", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  const resource = await berth.resource();
  await reserveMany(berth.api, resource.id, webhook.id, 2);
  const page = await pageOf("admin");
  await page.goto(`/deliveries?webhook=${webhook.id}`);
  const rows = deliveryRows(page);
  await expect(rows.filter({ hasText: "Succeeded" })).toHaveCount(2);
  await LIVE(page);
  await rows.first().getByRole("link", { name: "reservation.created" }).click();
  await expect(deliveryPane(page).getByText("The receiver responded with 200.")).toBeVisible();
  const first = await rows.first().getAttribute("data-id");
  await reserveMany(berth.api, resource.id, webhook.id, 3, 2);
  await expect(page.getByRole("button", { name: "3 new" })).toBeVisible();
  await expect(rows).toHaveCount(2);
  expect(await rows.first().getAttribute("data-id")).toBe(first);
  await page.getByRole("button", { name: "3 new" }).click();
  await expect(rows).toHaveCount(5);
  await expect(page.getByRole("button", { name: "3 new" })).toHaveCount(0);
});

test("a pending delivery states why it waits, with a link to the remedy", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(503));
  const webhook = await berth.api.webhook({ name: "Waiting", endpoint_url: service.endpoint, retry: { waits: [3600] } });
  const resource = await berth.resource();
  const reservation = await berth.api.reserve(resource.id);
  await expect.poll(async () => (await berth.api.deliveries(`webhook_id=${webhook.id}&status=retrying`)).length).toBe(1);
  await berth.api.post(`/reservations/${reservation.id}/cancel`);
  const [second, first] = await berth.api.deliveries(`webhook_id=${webhook.id}`);
  const page = await pageOf("admin");
  await page.goto(`/deliveries/${first?.id}`);
  const reason = page.getByRole("status").filter({ hasText: "Waits" });
  await expect(reason).toContainText(/Waits for its next attempt, in \d+ (min|hr)/);
  await page.goto(`/deliveries/${second?.id}`);
  await expect(reason).toContainText("Waits for an earlier event of the same reservation.");
  await expect(reason.getByRole("link", { name: "Open the earlier delivery" })).toHaveAttribute("href", `/deliveries/${first?.id}`);
  await LIVE(page);
  // The reason follows the webhook.
  await berth.api.post(`/webhooks/${webhook.id}/pause`);
  await expect(reason).toContainText("Waits because Waiting is paused.");
  await expect(reason.getByRole("link", { name: "Open the webhook" })).toHaveAttribute("href", `/settings/webhooks/${webhook.id}`);
});

test("JSON is folded, raw or copied, and an update shows its previous values", async ({ berth, browser, receiver }) => {
  const service = await receiver(responds(200, { status: "ready", details: { nodes: ["a", "b"], quota: 4 } }));
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  const resource = await berth.resource();
  const reservation = await berth.api.reserve(resource.id, 1, { title: "Old title" });
  await berth.api.call("PATCH", `/reservations/${reservation.id}`, { title: "New title" });
  const page = await logInByApi(browser, berth, "admin", { permissions: ["clipboard-read", "clipboard-write"] });
  await page.goto(`/deliveries?webhook=${webhook.id}&event=reservation.updated`);
  await deliveryRows(page).getByRole("link", { name: "reservation.updated" }).click();
  const pane = deliveryPane(page);
  const body = pane.getByLabel("Response body");
  await expect(body).toContainText('"quota": 4');
  await body.getByText('"details"').click();
  await expect(body.getByText('"quota"')).toBeHidden();
  await expect(body).toContainText("2 fields }");
  await pane.getByRole("button", { name: "Raw" }).click();
  await expect(body).toHaveText('{"status":"ready","details":{"nodes":["a","b"],"quota":4}}');
  await pane.getByRole("button", { name: "Raw" }).click();
  await body.locator("..").getByRole("button", { name: "Copy" }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toContain('\n  "status": "ready"');

  await pane.getByRole("tab", { name: "Response" }).focus();
  await page.keyboard.press("ArrowRight");
  await expect(pane.getByRole("tab", { name: "Request" })).toBeFocused();
  await expect(pane.getByLabel("Request headers")).toContainText(/x-webhook-signature/i);
  await page.keyboard.press("End");
  await expect(pane.getByRole("tab", { name: "Changes" })).toBeFocused();
  await expect(pane.getByRole("deletion")).toHaveText("Old title");
  await expect(pane.getByRole("insertion")).toHaveText("New title");
  await page.context().close();
});

test("the histogram selects a time by keyboard and by dragging", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(500));
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint, retry: { waits: [] } });
  await reserveMany(berth.api, (await berth.resource()).id, webhook.id, 2);
  const page = await pageOf("admin");
  await page.goto(`/deliveries?webhook=${webhook.id}`);
  const histogram = page.getByRole("slider", { name: "Attempts per 15 min" });
  // The counters follow the log within seconds.
  await expect(async () => {
    await page.reload();
    await histogram.focus();
    await expect(histogram).toHaveAttribute("aria-valuetext", /failed 2, others 0$/, { timeout: 2_000 });
  }).toPass();
  await page.keyboard.press("Shift+ArrowLeft");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/since=.*&until=/);
  await expect(deliveryRows(page)).toHaveCount(2);
  await expect(page.getByLabel("Time", { exact: true })).toHaveValue("custom");
  await page.goBack();
  await expect(page).toHaveURL(new RegExp(`/deliveries\\?webhook=${webhook.id}$`));

  // An old part of the day has no deliveries.
  const box = await histogram.boundingBox();
  if (box === null) throw new Error("no histogram");
  await page.mouse.move(box.x + box.width * 0.1, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.3, box.y + 20, { steps: 4 });
  await page.mouse.up();
  await expect(page).toHaveURL(/since=.*&until=/);
  await expect(page.getByRole("heading", { name: "No matching deliveries" })).toBeVisible();
  const parameters = new URL(page.url()).searchParams;
  const hours = (Date.parse(parameters.get("until") ?? "") - Date.parse(parameters.get("since") ?? "")) / 3_600_000;
  expect(hours).toBeGreaterThan(4);
  expect(hours).toBeLessThan(6);
  // With a search, deliveries are counted instead of attempts.
  await page.goto(`/deliveries?webhook=${webhook.id}&q=status:failed`);
  await expect(page.getByRole("slider", { name: "Deliveries per 15 min" })).toBeVisible();
});

test("on a phone, a delivery is a page", async ({ berth, browser, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  await reserveMany(berth.api, (await berth.resource()).id, webhook.id, 1);
  const page = await logInByApi(browser, berth, "admin", { viewport: { width: 390, height: 844 } });
  await page.goto(`/deliveries?webhook=${webhook.id}`);
  const row = deliveryRows(page).first();
  await expect(row).toContainText("Succeeded");
  await row.getByRole("link", { name: "reservation.created" }).click();
  await expect(page).toHaveURL(/\/deliveries\/dlv_[a-z0-9]+$/);
  await expect(page.getByRole("heading", { name: "reservation.created", level: 1 })).toBeFocused();
  const id = page.url().split("/").at(-1);
  await page.goBack();
  await expect(row).toContainText("Succeeded");
  // A link from a large window opens the page too.
  await page.goto(`/deliveries?delivery=${id}`);
  await expect(page).toHaveURL(new RegExp(`/deliveries/${id}$`));
  await page.context().close();
});

test("a list of thousands of rows renders those near the window only", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  await berth.api.webhook({ endpoint_url: service.endpoint });
  const reservation = await berth.api.reserve((await berth.resource()).id);
  const [delivery] = await berth.api.deliveries(`reservation_id=${reservation.id}`);
  const page = await pageOf("admin");
  // The rows of the response are multiplied: thousands of deliveries would take minutes.
  await page.route("**/rpc/list-deliveries", async (route) => {
    const response = await route.fetch();
    const body = await response.json();
    const copy = (n: number) => ({ ...body.items[0], id: `dlv_${String(99_999_999 - n).padStart(26, "0")}` });
    const items = Array.from({ length: 5_000 }, (_, n) => copy(n));
    await route.fulfill({ response, json: { ...body, items, next_cursor: null } });
  });
  expect(delivery).toBeDefined();
  await page.goto(`/deliveries?reservation=${reservation.id}`);
  const rows = deliveryRows(page);
  await expect(rows.first()).toHaveAttribute("data-id", "dlv_00000000000000000099999999");
  expect(await rows.count()).toBeLessThan(300);
  await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
  const last = page.locator('tr[data-id="dlv_00000000000000000099995000"]');
  await expect(last).toBeInViewport();
  expect(await rows.count()).toBeLessThan(300);
  await expect(page.locator("table.log")).toHaveAttribute("aria-rowcount", "5001");
});
