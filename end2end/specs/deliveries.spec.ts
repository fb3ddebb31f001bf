// The delivery log: live attempts, countdown, filters in the address, redelivery.

import { deliveryPane, deliveryRows, expect, test } from "../fixtures.ts";
import { local, nextHour } from "../support/api.ts";
import { Gate, responds } from "../support/test-receiver.ts";

test("an attempt is shown while it runs, with a countdown to its retry", async ({ berth, pageOf, receiver }) => {
  const first = new Gate(responds(503, { detail: "one moment" }));
  const service = await receiver(first.behaviour);
  await berth.api.webhook({ name: "Watched", endpoint_url: service.endpoint });
  const resource = await berth.resource();
  const page = await pageOf("admin");
  await page.goto("/deliveries");
  await expect(page.getByText("Live", { exact: true }).first()).toBeVisible();

  const reservation = await berth.api.reserve(resource.id);
  const row = deliveryRows(page).filter({ hasText: reservation.id });
  await expect(row).toContainText("Sending");
  const second = new Gate();
  first.open();
  await expect(row).toContainText("Retrying");
  await expect(row).toContainText("next attempt in 1 sec");
  service.behaviour = second.behaviour;
  await expect(row).toContainText("Sending");
  await expect(row).toContainText("attempt 2 of 4");
  second.open();
  await expect(row).toContainText("Succeeded");
  await expect(row).toContainText("200");

  await row.getByRole("link", { name: "reservation.created" }).click();
  const pane = deliveryPane(page);
  await expect(pane.getByRole("heading", { name: "reservation.created", level: 2 })).toBeVisible();
  await expect(pane.getByText("The receiver responded with 200.")).toBeVisible();
  await pane.getByRole("tab", { name: "Attempts · 2" }).click();
  const attempts = pane.getByRole("list", { name: "Attempts" }).getByRole("listitem");
  await expect(attempts).toHaveCount(2);
  await attempts.getByText("Attempt 1", { exact: true }).click();
  await expect(pane.getByRole("tab", { name: "Response" })).toHaveAttribute("aria-selected", "true");
  await expect(pane.getByText(/responded with 503: it is not available now. Response: “one moment”/)).toBeVisible();
});

test("a delivery fails after its last attempt; a redelivery sends the same event again", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(500));
  await berth.api.webhook({ endpoint_url: service.endpoint, retry: { waits: [1] } });
  const resource = await berth.resource();
  const reservation = await berth.api.reserve(resource.id);
  const page = await pageOf("admin");
  await page.goto("/deliveries");
  const rows = deliveryRows(page).filter({ hasText: reservation.id });
  await expect(rows).toContainText("Failed");
  await expect(rows).toContainText("attempt 2 of 2");

  service.behaviour = responds(200);
  await rows.getByRole("link", { name: "reservation.created" }).click();
  const failed = page.url();
  await deliveryPane(page).getByRole("button", { name: "Redeliver" }).click();
  await expect(page).not.toHaveURL(failed);
  await expect(page.getByText("Redelivery of")).toBeVisible();
  await expect(deliveryPane(page).getByText("The receiver responded with 200.")).toBeVisible();
  const ids = service.received.map((request) => request.headers["webhook-id"]);
  expect(new Set(ids).size).toBe(1);
  const deliveries = service.received.map((request) => request.headers["x-webhook-delivery"]);
  expect(new Set(deliveries).size).toBe(2);
});

test("a replay redelivers all matching deliveries after showing their number", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(500));
  const webhook = await berth.api.webhook({ name: "Was broken", endpoint_url: service.endpoint, retry: { waits: [] } });
  const resource = await berth.resource();
  for (const hours of [1, 4, 7]) await berth.api.reserve(resource.id, hours);
  const page = await pageOf("admin");
  await page.goto(`/deliveries?webhook=${webhook.id}`);
  await expect(deliveryRows(page).filter({ hasText: "Failed" })).toHaveCount(3);
  service.behaviour = responds(200);
  await page.getByRole("button", { name: "Redeliver failed…" }).click();
  const dialog = page.getByRole("dialog", { name: "Redeliver failed deliveries" });
  await expect(dialog).toContainText("3 failed deliveries match");
  await dialog.getByRole("button", { name: "Redeliver 3 deliveries", exact: true }).click();
  await expect(dialog).toContainText("3 of 3 queued: 3 succeeded.");
  await dialog.getByRole("button", { name: "Close" }).last().click();
  await expect(deliveryRows(page).filter({ hasText: "Succeeded" })).toHaveCount(3);
  await expect(deliveryRows(page).filter({ hasText: "Failed" })).toHaveCount(3);
});

test("redelivery is offered for ended deliveries only, and the original links to it", async ({ berth, pageOf, receiver }) => {
  const gate = new Gate(responds(500));
  const service = await receiver(gate.behaviour);
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint, retry: { waits: [] } });
  const resource = await berth.resource();
  const page = await pageOf("admin");
  await page.goto(`/deliveries?webhook=${webhook.id}`);
  await expect(page.getByText("Live", { exact: true }).first()).toBeVisible();
  // The attempt ends by itself after the timeout, so the page is loaded before.
  await berth.api.reserve(resource.id);
  await deliveryRows(page).getByRole("link", { name: "reservation.created" }).click();
  const redeliver = page.getByRole("button", { name: "Redeliver", exact: true });
  await expect(page.getByText("Still in progress. Redeliver when it ends.")).toBeVisible();
  await expect(redeliver).toHaveCount(0);
  gate.open();
  await expect(redeliver).toBeVisible();
  const original = page.url();
  service.behaviour = responds(200);
  await redeliver.click();
  await expect(page.getByText("Redelivery of")).toBeVisible();
  await expect(page).not.toHaveURL(original);
  const redelivery = `/deliveries/${new URL(page.url()).searchParams.get("delivery")}`;
  await page.goto(original);
  const link = page.getByRole("link", { name: redelivery.split("/").at(-1) ?? "" });
  await expect(page.getByText("Redelivered as")).toBeVisible();
  await expect(link).toHaveAttribute("href", redelivery);

  // A replay says which of the listed deliveries it skips.
  await berth.api.post(`/webhooks/${webhook.id}/test`);
  await page.goto(`/deliveries?webhook=${webhook.id}`);
  await expect(deliveryRows(page).filter({ hasText: "Failed" })).toHaveCount(1);
  await page.getByRole("button", { name: "Redeliver failed…" }).click();
  const dialog = page.getByRole("dialog", { name: "Redeliver failed deliveries" });
  await expect(dialog).toContainText("No failed deliveries can be redelivered.");
  await expect(dialog).toContainText("1 more was already redelivered.");
  await expect(dialog.getByRole("button", { name: "Redeliver", exact: true })).toBeDisabled();
  await dialog.getByRole("button", { name: "Cancel" }).click();

  // Neither test events nor deliveries of deleted webhooks can be redelivered.
  await deliveryRows(page).filter({ hasText: "test" }).getByRole("link", { name: "reservation.created" }).click();
  await expect(page.getByText("Test events are not redelivered.")).toBeVisible();
  await expect(redeliver).toHaveCount(0);
  await berth.api.call("DELETE", `/webhooks/${webhook.id}`);
  await page.goto(original);
  await expect(page.getByText("The webhook was deleted")).toBeVisible();
  await expect(redeliver).toHaveCount(0);
});

test("a delivery shows its newest redeliveries, live and in order, and links to the rest", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  await berth.api.webhook({ endpoint_url: service.endpoint });
  const reservation = await berth.api.reserve((await berth.resource()).id);
  const query = `reservation_id=${reservation.id}`;
  await expect.poll(async () => (await berth.api.deliveries(query))[0]?.status).toBe("succeeded");
  const [original] = await berth.api.deliveries(query);
  if (original === undefined) throw new Error("no delivery");
  const made: string[] = [];
  const redeliver = async () => made.unshift((await berth.api.post<{ id: string }>(`/deliveries/${original.id}/redeliver`)).id);
  for (let n = 0; n < 9; n += 1) await redeliver();
  const page = await pageOf("admin");
  await page.goto(`/deliveries/${original.id}`);
  await expect(page.getByText("Live", { exact: true }).first()).toBeVisible();
  const shown = () => page.locator("dt:has-text('Redelivered as') + dd").getByRole("link", { name: /^dlv_/ }).allInnerTexts();
  const all = page.getByRole("link", { name: "Show all redeliveries" });
  await expect.poll(shown).toEqual(made);
  await redeliver();
  await expect.poll(shown).toEqual(made);
  await expect(all).toHaveCount(0);
  // Live updates put the newest first, and do not extend the list.
  await redeliver();
  await expect.poll(shown).toEqual(made.slice(0, 10));
  await expect(page.getByText("There are older ones.")).toBeVisible();
  // More than the API returns with the delivery.
  for (let n = 0; n < 45; n += 1) await redeliver();
  await page.reload();
  await expect.poll(shown).toEqual(made.slice(0, 10));

  await all.click();
  await expect(page).toHaveURL(new RegExp(`/deliveries\\?redelivery_of=${original.id}$`));
  await expect(page.getByText(`Redeliveries of ${original.id}.`)).toBeVisible();
  await expect(deliveryRows(page)).toHaveCount(50);
  await page.getByRole("button", { name: "Show more" }).click();
  await expect(deliveryRows(page)).toHaveCount(56);
  await redeliver();
  await expect(page.getByText("1 new").or(deliveryRows(page).nth(56))).toBeVisible();
  await page.getByRole("button", { name: "Clear filters" }).click();
  await expect(page).toHaveURL(/\/deliveries$/);
  await expect(page.getByText("Redeliveries of")).toHaveCount(0);
});

test("filters are in the address, survive a reload and apply to live updates", async ({ berth, pageOf, receiver }) => {
  const good = await receiver();
  const bad = await receiver(responds(500));
  const one = await berth.api.webhook({ name: "Filter good", endpoint_url: good.endpoint });
  await berth.api.webhook({ name: "Filter bad", endpoint_url: bad.endpoint, retry: { waits: [] } });
  const resource = await berth.resource();
  const reservation = await berth.api.reserve(resource.id);
  await berth.api.post(`/reservations/${reservation.id}/cancel`);
  const page = await pageOf("admin");
  await page.goto("/deliveries");
  await page.getByLabel("Reservation").fill(reservation.id);
  await expect(page).toHaveURL(new RegExp(`reservation=${reservation.id}`));
  const rows = deliveryRows(page);
  await expect(rows).toHaveCount(4);
  await page.getByLabel("Status").selectOption({ label: "Failed" });
  await expect(rows).toHaveCount(2);
  await expect(page).toHaveURL(/status=failed/);
  await page.getByLabel("Status").selectOption({ label: "Any status" });
  await page.getByLabel("Webhook").selectOption({ label: "Filter good" });
  await page.getByLabel("Event").selectOption("reservation.cancelled");
  await expect(rows).toHaveCount(1);
  const filtered = new RegExp(`webhook=${one.id}&event=reservation\\.cancelled&reservation=`);
  await expect(page).toHaveURL(filtered);

  await page.reload();
  await expect(page.getByLabel("Event")).toHaveValue("reservation.cancelled");
  await expect(page.getByLabel("Webhook")).toHaveValue(String(one.id));
  await expect(rows).toHaveCount(1);

  // Live updates add only matching deliveries.
  await page.getByLabel("Reservation").fill("");
  const before = await rows.count();
  const other = await berth.api.reserve(resource.id, 5);
  await berth.api.post(`/reservations/${other.id}/cancel`);
  await expect(rows.filter({ hasText: other.id })).toHaveCount(1);
  expect(await rows.count()).toBe(before + 1);
  await page.getByRole("button", { name: "Clear filters" }).click();
  await expect(page).toHaveURL(/\/deliveries$/);
  await expect(page.getByLabel("Event")).toHaveValue("");
});

test("a custom time range limits the list, and a preset replaces it", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  await berth.api.webhook({ endpoint_url: service.endpoint });
  const resource = await berth.resource();
  const reservation = await berth.api.reserve(resource.id);
  const page = await pageOf("admin");
  await page.goto("/deliveries");
  const row = deliveryRows(page).filter({ hasText: reservation.id });
  await expect(row).toHaveCount(1);
  await page.getByLabel("Time", { exact: true }).selectOption({ label: "Custom range" });
  await expect(page.getByText("Times in Europe/Berlin.")).toBeVisible();
  await page.getByLabel("From", { exact: true }).fill(local(nextHour(-3)));
  await page.getByLabel("To", { exact: true }).fill(local(nextHour(1)));
  await expect(page).toHaveURL(/since=.*&until=/);
  await expect(row).toHaveCount(1);
  await page.getByLabel("To", { exact: true }).fill(local(nextHour(-2)));
  await expect(row).toHaveCount(0);
  await page.reload();
  await expect(page.getByLabel("From", { exact: true })).toHaveValue(local(nextHour(-3)));
  await page.getByLabel("To", { exact: true }).fill(local(nextHour(-4)));
  await expect(page.getByLabel("To", { exact: true })).toHaveAccessibleDescription(/To must be after From/);
  await page.getByLabel("Time", { exact: true }).selectOption({ label: "Last hour" });
  await expect(page).toHaveURL(/\/deliveries\?since=1h$/);
  await expect(page.getByLabel("From", { exact: true })).toHaveCount(0);
  await expect(row).toHaveCount(1);
});

test("a filter without matches and an unknown delivery show a message", async ({ pageOf }) => {
  const page = await pageOf("admin");
  await page.goto("/deliveries?reservation=rsv-00000000000000000000000000");
  await expect(page.getByRole("heading", { name: "No matching deliveries" })).toBeVisible();
  await expect(page.getByText("when someone reserves a resource")).toHaveCount(0);
  await page.getByRole("button", { name: "Show all deliveries" }).click();
  await expect(page).toHaveURL(/\/deliveries$/);
  await page.goto("/deliveries/dlv_00000000000000000000000000");
  await expect(page.getByRole("alert")).toContainText("This delivery does not exist");
});
