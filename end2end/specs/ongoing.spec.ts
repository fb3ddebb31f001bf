// A reservation that starts and is in progress: hidden access information, extension and early end.

import type { Page } from "@playwright/test";
import { expect, test } from "../fixtures.ts";
import type { Api } from "../support/api.ts";
import { inspect } from "../support/screens.ts";
import { responds } from "../support/test-receiver.ts";

const MINUTE = 60_000;

/** Reserves from `from` to `to`, in minutes from now. */
function book(api: Api, resource: number, from: number, to: number, more: Record<string, unknown> = {}) {
  const at = (minutes: number) => new Date(Date.now() + minutes * MINUTE).toISOString();
  return api.reserve(resource, 0, { start_time: at(from), end_time: at(to), ...more });
}

async function endOf(api: Api, id: string): Promise<number> {
  return Date.parse((await api.get<{ end_time: string }>(`/reservations/${id}`)).end_time);
}

const dialogOf = (page: Page) => page.getByRole("dialog", { name: "Extend this reservation" });

test("access information appears at the start without a reload", async ({ berth, pageOf, receiver }) => {
  const admin = await pageOf("admin");
  await admin.goto("/settings/catalogue");
  await admin.getByRole("row", { name: /GPU/ }).getByRole("button", { name: "Edit" }).click();
  const form = admin.getByRole("dialog");
  await expect(form.getByLabel("Access information before the start")).toHaveValue("automatic");
  await form.getByLabel("Access information before the start").selectOption("Hidden");
  await expect(form).toContainText("from the start of their reservation on");
  await form.getByRole("button", { name: "Save type" }).click();
  await expect(form).toBeHidden();

  const access = { ip_address: "192.0.2.7", connection_command: "ssh user-alice@192.0.2.7" };
  const service = await receiver(responds(200, { status: "success", message: "Machine prepared", details: { access_info: access, console: "tty-192" } }));
  await berth.api.webhook({ endpoint_url: service.endpoint });
  const alice = await berth.as("alice");
  const resource = await berth.resource();
  const later = await book(alice, resource.id, 60, 90, { title: "Later today" });
  const page = await pageOf("alice");
  await page.goto(`/reservations/${later.id}`);
  await expect(page.getByText(/^Access information is shown at .+, when the reservation starts\.$/)).toBeVisible();
  await expect(page.getByText("Machine prepared")).toBeVisible();
  await expect(page.getByText("192.0.2.7")).toBeHidden();
  await inspect(page, "ongoing-hidden-access");

  const soon = await book(alice, resource.id, 0.15, 30, { title: "Soon" });
  await page.goto(`/reservations/${soon.id}`);
  await expect(page.getByText("ssh user-alice@192.0.2.7")).toBeVisible({ timeout: 30_000 });
  await expect(page.getByText(/Access information is shown at/)).toBeHidden();
  const shown = await alice.get<{ provisioning: { access_available_at?: string } }>(`/reservations/${soon.id}`);
  expect(shown.provisioning.access_available_at).toBeUndefined();
  await berth.api.call("PATCH", "/resource-types/gpu-cluster", { access_before_start: "automatic" });
});

test("a reservation in progress is extended by a step, by a chosen end and by one click", async ({ berth, pageOf }) => {
  await berth.api.call("PATCH", "/resource-types/gpu-cluster", { ending_notice_minutes: 15 });
  const alice = await berth.as("alice");
  const resource = await berth.resource();
  const reservation = await book(alice, resource.id, 0, 60, { title: "Training" });
  const end = await endOf(alice, reservation.id);
  const page = await pageOf("alice");
  await page.goto(`/reservations/${reservation.id}`);
  await expect(page.getByText("Ending soon.")).toBeHidden();
  await page.getByRole("button", { name: "Extend", exact: true }).click();
  await inspect(page, "ongoing-extend");
  await dialogOf(page).getByRole("button", { name: "+30 min" }).click();
  await expect(page.getByText(/^Extended until /)).toBeVisible();
  await expect(dialogOf(page)).toBeHidden();
  expect(await endOf(alice, reservation.id)).toBe(end + 30 * MINUTE);

  await page.getByRole("button", { name: "Extend", exact: true }).click();
  await dialogOf(page).getByLabel("New end").fill("");
  await dialogOf(page).getByRole("button", { name: "Extend", exact: true }).click();
  await expect(dialogOf(page)).toContainText("Enter a date and time.");
  await dialogOf(page).getByRole("button", { name: "Cancel" }).click();

  // The whole reservation is within the notice.
  await berth.api.call("PATCH", "/resource-types/gpu-cluster", { ending_notice_minutes: 120 });
  await page.goto("/");
  // Another test has left reservations.
  const card = page.locator(".reservation-item").filter({ has: page.locator(`a[href="/reservations/${reservation.id}"]`) });
  const hint = card.locator(".ending-soon");
  await expect(hint).toContainText(/Ends at .+ \(in 1 (hour|hr\.?)/);
  await inspect(page, "ongoing-home");
  await hint.getByRole("button", { name: "Extend by 30 minutes" }).click();
  await expect.poll(() => endOf(alice, reservation.id)).toBe(end + 60 * MINUTE);
  await berth.api.call("PATCH", "/resource-types/gpu-cluster", { ending_notice_minutes: 15 });
});

test("an extension in conflict offers a shorter one and a free resource", async ({ berth, pageOf }) => {
  const [alice, bob] = [await berth.as("alice"), await berth.as("bob")];
  const resource = await berth.resource();
  const free = await berth.resource({ name: "Free cluster" });
  const reservation = await book(alice, resource.id, 0, 60, { title: "Thesis & more" });
  await book(bob, resource.id, 75, 135, { title: "Private" });
  const end = await endOf(alice, reservation.id);
  const page = await pageOf("alice");
  await page.goto(`/reservations/${reservation.id}`);
  await page.getByRole("button", { name: "Extend", exact: true }).click();
  await dialogOf(page).getByRole("button", { name: "+2 h" }).click();
  await expect(dialogOf(page).getByRole("alert")).toContainText("The resource is already reserved");
  await expect(dialogOf(page)).not.toContainText("Private");
  await inspect(page, "ongoing-conflict");
  await dialogOf(page).getByRole("link", { name: "Reserve Free cluster" }).click();
  await expect(page.getByRole("heading", { name: "Free cluster" })).toBeVisible();
  await expect(page.getByLabel("Title")).toHaveValue("Thesis & more");
  await page.getByRole("button", { name: "Reserve", exact: true }).click();
  await expect(page).toHaveURL(/\/reservations\/rsv-/);
  const made = await alice.get<{ resource_id: number; start_time: string; end_time: string }>(`/reservations/${page.url().split("/").at(-1)}`);
  // The address has seconds.
  const seconds = (time: number) => Math.floor(time / 1000);
  expect([made.resource_id, seconds(Date.parse(made.start_time)), seconds(Date.parse(made.end_time))]).toEqual([
    free.id,
    seconds(end),
    seconds(end + 120 * MINUTE),
  ]);

  await page.goto(`/reservations/${reservation.id}`);
  await page.getByRole("button", { name: "Extend", exact: true }).click();
  await dialogOf(page).getByRole("button", { name: "+2 h" }).click();
  await dialogOf(page).getByRole("button", { name: /^Extend until / }).click();
  await expect(dialogOf(page)).toBeHidden();
  expect(Math.round(((await endOf(alice, reservation.id)) - end) / MINUTE)).toBe(15);
});

test("a reservation is ended now from the list, and its time is free", async ({ berth, pageOf }) => {
  const [alice, bob] = [await berth.as("alice"), await berth.as("bob")];
  const resource = await berth.resource();
  const reservation = await book(alice, resource.id, 0, 120, { title: "To be ended" });
  const page = await pageOf("alice");
  await page.goto("/reservations");
  const item = page.locator(".reservation-item").filter({ hasText: "To be ended" });
  await item.getByRole("button", { name: "End now" }).click();
  const dialog = page.getByRole("dialog", { name: "End this reservation now?" });
  await inspect(page, "ongoing-end");
  await dialog.getByRole("button", { name: "End now" }).click();
  await expect(dialog).toBeHidden();
  await expect(item).toBeHidden();
  await book(bob, resource.id, 0, 60);
  await page.goto(`/reservations/${reservation.id}`);
  await expect(page.getByText("Expired").first()).toBeVisible();
  await expect(page.getByRole("button", { name: "Extend", exact: true })).toBeHidden();
  await expect(page.getByRole("button", { name: "End now" })).toBeHidden();
});
