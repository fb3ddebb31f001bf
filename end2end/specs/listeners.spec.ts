// Local listeners and the classic payload format, as the page shows them.

import { expect, test } from "../fixtures.ts";
import type { Webhook } from "../support/api.ts";

test("the page of a local webhook follows its listener", async ({ berth, pageOf }) => {
  const webhook = await berth.api.webhook({ endpoint_url: "http://127.0.0.1:8000/hook", delivery_mode: "local", auth: { method: "none" } });
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}`);
  await expect(page.getByText("Local listener: disconnected.")).toBeVisible();
  await expect(page.getByText(`berth listen --webhook ${webhook.id} --forward-to http://127.0.0.1:8000/hook`)).toBeVisible();
  await expect(page.getByText("By a local listener")).toBeVisible();
  await expect(page.getByRole("button", { name: "Test Webhook" })).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Certify receiver" })).toHaveCount(0);
  await berth.api.call("POST", `/webhooks/${webhook.id}/listener`);
  await expect(page.getByText("Local listener: connected.")).toBeVisible();
  await berth.api.call("DELETE", `/webhooks/${webhook.id}/listener`);
  await expect(page.getByText("Local listener: disconnected.")).toBeVisible();
  await page.goto("/settings/webhooks");
  await expect(page.getByRole("link", { name: webhook.name })).toBeVisible();
  await expect(page.getByRole("button", { name: /^Test Webhook/ })).toHaveCount(0);
  // The form keeps the URL, which Berth itself may not call, and has no test before saving.
  await page.goto(`/settings/webhooks/${webhook.id}?tab=settings`);
  await page.getByLabel("Webhook Name").fill("My machine");
  await expect(page.getByText("Test before saving")).toHaveCount(0);
  await page.getByRole("button", { name: "Save Webhook" }).click();
  await expect(page.getByText("Saved.", { exact: true })).toBeVisible();
  expect((await berth.api.get<Webhook>(`/webhooks/${webhook.id}`)).name).toBe("My machine");
});

test("the classic format uses the URL as entered", async ({ berth, pageOf }) => {
  const webhook = await berth.api.webhook({ endpoint_url: "http://127.0.0.1:8000/hook", auth: { method: "none" } });
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}?tab=settings`);
  const calls = page.getByText("Requests will be sent to").locator("..").getByRole("listitem");
  await expect(calls.filter({ hasText: "Reservation Created" })).toContainText("/hook/reservation");
  await page.getByText("Advanced: format, filter, headers, retries, limits, responses, signatures").click();
  await page.getByLabel("Payload format").selectOption("classic");
  await expect(page.getByText("EVENT_START and EVENT_END at start and end")).toBeVisible();
  await expect(calls.filter({ hasText: "Reservation Created" })).not.toContainText("/reservation");
  await page.getByRole("button", { name: "Save Webhook" }).click();
  await expect(page.getByText("Saved.", { exact: true })).toBeVisible();
  await page.goto("/settings/webhooks/events");
  await page.getByLabel("Payload format of the examples").selectOption("classic");
  await expect(page.getByText('"eventType": "EVENT_START"')).toBeVisible();
  await expect(page.getByText("This format does not have this event.").first()).toBeVisible();
});
