// The hand-over of a resource: the next reservation waits for the confirmed release, and the turnaround time is kept free.

import { expect, provisioning, test } from "../fixtures.ts";
import type { Reservation } from "../support/api.ts";
import { inspect } from "../support/screens.ts";
import { responds } from "../support/test-receiver.ts";

const MINUTE = 60_000;

test("a late release is notified and confirmed, and the next reservation is provisioned", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(200));
  await berth.api.webhook({ name: "Machines", endpoint_url: service.endpoint, provision: "start", resource_type: null });
  await berth.api.post("/resource-types", { slug: "bare-metal", name: "Bare metal", late_release_minutes: 0 });
  const resource = await berth.api.post<{ id: number }>("/resources", { name: "Blade 1", resource_type: "bare-metal" });
  const reserve = (title: string, from: number, to: number) =>
    berth.api.post<Reservation>("/reservations", {
      resource_id: resource.id,
      title,
      start_time: new Date(Date.now() + from * MINUTE).toISOString(),
      end_time: new Date(Date.now() + to * MINUTE).toISOString(),
    });
  const first = await reserve("First", 0, 120);
  const page = await pageOf("admin");
  await page.goto(`/reservations/${first.id}`);
  await expect(provisioning(page)).toContainText("Ready");
  await expect(page.getByRole("button", { name: "Confirm release" })).toHaveCount(0);

  // The service accepts the release, and never reports that it is complete.
  service.behaviour = responds(202);
  await berth.api.post(`/reservations/${first.id}/cancel`);
  await expect(provisioning(page)).toContainText("Releasing");
  const next = await reserve("Next", 0, 60);
  await page.goto(`/reservations/${next.id}`);
  await expect(page.getByText("not released from the previous reservation in time")).toBeVisible();
  await inspect(page, "hand-over-waits");

  await page.getByRole("button", { name: /^Notifications/ }).click();
  await page.getByRole("link", { name: /The release of Blade 1 is late/ }).click();
  await expect(page).toHaveURL(new RegExp(`/reservations/${first.id}$`));
  service.behaviour = responds(200);
  await page.getByRole("button", { name: "Confirm release" }).click();
  const dialog = page.getByRole("dialog", { name: "Is the resource released?" });
  await inspect(page, "hand-over-confirm");
  await dialog.getByRole("button", { name: "Confirm release" }).click();
  await expect(page.getByText(/^Confirmed by/)).toBeVisible();
  await expect(page.getByRole("button", { name: "Confirm release" })).toHaveCount(0);
  await page.goto(`/reservations/${next.id}`);
  await expect(provisioning(page)).toContainText("Ready");
});

test("the calendar shows the turnaround time, and does not offer it", async ({ berth, pageOf }) => {
  await berth.api.post("/resource-types", { slug: "lab-bench", name: "Lab bench", turnaround_minutes: 30 });
  const resource = await berth.api.post<{ id: number }>("/resources", { name: "Bench 1", resource_type: "lab-bench" });
  const start = new Date(Math.ceil(Date.now() / (60 * MINUTE)) * 60 * MINUTE + 60 * MINUTE);
  const end = new Date(start.getTime() + 60 * MINUTE);
  await berth.api.post("/reservations", { resource_id: resource.id, start_time: start.toISOString(), end_time: end.toISOString() });
  const page = await pageOf("alice");
  await page.goto(`/reserve?resource=${resource.id}`);
  await expect(page.locator(".legend")).toContainText("turnaround");
  await expect(page.locator(".block.turnaround").first()).toBeVisible();
  await inspect(page, "calendar-turnaround");
  const refused = await berth.api.raw("POST", "/reservations", {
    resource_id: resource.id,
    start_time: end.toISOString(),
    end_time: new Date(end.getTime() + 60 * MINUTE).toISOString(),
  });
  expect(refused.status).toBe(409);
  expect((await refused.json()).detail).toContain("stays free for 30 minutes after each reservation");
});

test("turnaround and late release are settings of the resource type", async ({ pageOf, berth }) => {
  await berth.api.post("/resource-types", { slug: "racks", name: "Racks" });
  const page = await pageOf("admin");
  await page.goto("/settings/catalogue");
  await page.getByRole("button", { name: "Edit Racks" }).click();
  const dialog = page.getByRole("dialog", { name: "Edit Racks" });
  await expect(dialog.getByLabel("Late release (minutes)")).toHaveValue("15");
  await dialog.getByLabel("Turnaround (minutes)").fill("1441");
  await dialog.getByRole("button", { name: "Save type" }).click();
  await expect(dialog.getByText("Enter a whole number from 0 to 1440.")).toBeVisible();
  await dialog.getByLabel("Turnaround (minutes)").fill("20");
  await dialog.getByLabel("Late release (minutes)").fill("45");
  await dialog.getByRole("button", { name: "Save type" }).click();
  await expect(dialog).toBeHidden();
  const saved = await berth.api.get<{ turnaround_minutes: number; late_release_minutes: number }>("/resource-types/racks");
  expect([saved.turnaround_minutes, saved.late_release_minutes]).toEqual([20, 45]);
});
