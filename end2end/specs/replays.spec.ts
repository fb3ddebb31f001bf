// Replays: one first, pause, continuation, cancellation, and events that a webhook has never received.

import { expect, test } from "../fixtures.ts";
import { inspect } from "../support/screens.ts";
import { responds } from "../support/test-receiver.ts";

test("a replay sends one delivery first, then goes on until all are sent", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(500, { detail: "rack 42 is offline" }));
  const webhook = await berth.api.webhook({ name: "GPU Cluster Manager", endpoint_url: service.endpoint, retry: { waits: [] } });
  const resource = await berth.resource();
  for (let n = 0; n < 3; n += 1) await berth.api.reserve(resource.id, 1 + 3 * n);
  await expect.poll(async () => (await berth.api.deliveries(`webhook_id=${webhook.id}&status=failed`)).length).toBe(3);
  service.behaviour = responds(200, {});
  const page = await pageOf("admin");
  await page.goto(`/deliveries?webhook=${webhook.id}`);
  await page.getByRole("button", { name: "Redeliver failed…" }).click();
  const dialog = page.getByRole("dialog", { name: "Redeliver failed deliveries" });
  await expect(dialog).toContainText("3 failed deliveries match the filters.");
  await dialog.getByLabel("Deliveries per minute").fill("0");
  await dialog.getByRole("button", { name: "Redeliver 3 deliveries" }).click();
  await expect(dialog.getByLabel("Deliveries per minute")).toHaveAccessibleDescription(/1 to 60,000/);
  await dialog.getByLabel("Deliveries per minute").fill("");
  await dialog.getByText("Send one first", { exact: true }).click();
  await inspect(page, "replay-form");
  await dialog.getByRole("button", { name: "Redeliver 3 deliveries" }).click();
  await expect(dialog).toContainText("The first delivery was sent.");
  await expect(dialog).toContainText("1 of 3 queued: 1 succeeded.");
  await dialog.getByRole("button", { name: "Close" }).last().click();

  // The list shows it until it ends.
  const replays = page.getByRole("region", { name: "Replays" });
  await expect(replays).toContainText("Paused");
  await inspect(page, "replay-open");
  await replays.getByRole("button", { name: "Continue" }).click();
  await expect(replays).toContainText("3 of 3 queued: 3 succeeded.");
  await replays.getByRole("link", { name: "View deliveries" }).click();
  await expect(page.getByText("Deliveries that a replay has queued.")).toBeVisible();
  await expect.poll(async () => page.locator("tbody tr").count()).toBe(3);
});

test("a paused webhook receives a replay's deliveries only until the replay is cancelled", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(500, {}));
  const webhook = await berth.api.webhook({ name: "Racks", endpoint_url: service.endpoint, retry: { waits: [] } });
  await berth.api.reserve((await berth.resource()).id, 1);
  await expect.poll(async () => (await berth.api.deliveries(`webhook_id=${webhook.id}&status=failed`)).length).toBe(1);
  await berth.api.post(`/webhooks/${webhook.id}/pause`, {});
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}?tab=deliveries`);
  await page.getByRole("button", { name: "Redeliver failed…" }).click();
  const dialog = page.getByRole("dialog", { name: "Redeliver failed deliveries" });
  await expect(dialog).toContainText("1 to redeliver, when the webhook is resumed.");
  await dialog.getByRole("button", { name: "Redeliver 1 delivery" }).click();
  await expect(dialog).toContainText("1 of 1 queued: 1 waiting.");
  await dialog.getByRole("button", { name: "Cancel replay" }).click();
  await expect(dialog).toContainText("1 of 1 queued: 1 discarded.");
  await expect(dialog).toContainText("Cancelled");
});

test("a new webhook receives the active reservations from before it existed", async ({ berth, pageOf, receiver }) => {
  const resource = await berth.resource();
  await berth.api.reserve(resource.id, 1);
  await berth.api.reserve(resource.id, 5);
  const service = await receiver();
  const webhook = await berth.api.webhook({ name: "Inventory", endpoint_url: service.endpoint, resource_type: "gpu-cluster", filter: { resource_ids: [resource.id], fields: [] } });
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}?tab=deliveries`);
  await page.getByRole("button", { name: "Send missing events…" }).click();
  const dialog = page.getByRole("dialog", { name: "Send missing events" });
  await expect(dialog).toContainText("2 active reservations were never sent to this webhook.");
  await inspect(page, "missing-events");
  await dialog.getByRole("button", { name: "Send 2 events" }).click();
  await expect(dialog).toContainText("2 of 2 queued: 2 succeeded.");
  await dialog.getByRole("button", { name: "Close" }).last().click();
  await page.getByRole("button", { name: "Send missing events…" }).click();
  await expect(dialog).toContainText("The webhook has received every active reservation.");
});
