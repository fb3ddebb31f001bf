// Reservations: calendar, configuration form, SSH key, conflicts, changes, cancellation and access requests.

import type { Page } from "@playwright/test";
import { SSH_KEY, expect, logInByApi, provisioning, test } from "../fixtures.ts";
import { type Page as ApiPage, type Reservation, local, nextHour } from "../support/api.ts";
import { blocks, clickOn, dayColumn, drag, pointAt, showDay } from "../support/calendar.ts";

const form = (page: Page) => page.getByRole("region", { name: "Reservation", exact: true });
const submit = (page: Page) => form(page).getByRole("button", { name: "Reserve" }).click();

/** The date of a local time. */
const dateOf = (time: Date) => local(time).slice(0, 10);

/** The visible colour at a point of the window, e.g. `rgb(11, 107, 203)`. */
async function colorAt(page: Page, { x, y }: { x: number; y: number }): Promise<string> {
  const png = await page.screenshot({ clip: { x: Math.round(x), y: Math.round(y), width: 1, height: 1 }, scale: "css" });
  return page.evaluate(async (bytes) => {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    context?.drawImage(await createImageBitmap(new Blob([new Uint8Array(bytes)])), 0, 0);
    const [red, green, blue] = context?.getImageData(0, 0, 1, 1).data ?? [];
    return `rgb(${red}, ${green}, ${blue})`;
  }, [...png]);
}

const message = (page: Page) => page.locator(".calendar-message");

/** 10:00 on the day `days` after today. */
function tenOClock(days: number): Date {
  const time = new Date();
  time.setDate(time.getDate() + days);
  time.setHours(10, 0, 0, 0);
  return time;
}

function later(time: Date, hours: number): Date {
  return new Date(time.getTime() + hours * 3_600_000);
}

test("two clicks on the calendar select the time in the form, and the reserved time is marked as own", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const page = await pageOf("alice");
  await page.goto("/reserve");
  await page.getByRole("button", { name: new RegExp(`^${resource.name} `) }).click();
  await expect(page.getByRole("heading", { name: resource.name })).toBeVisible();
  const start = tenOClock(7);
  await showDay(page, dateOf(start));
  await clickOn(page, dateOf(start), 600);
  await clickOn(page, dateOf(start), 840);
  await expect(form(page).getByLabel("Start")).toHaveValue(local(start));
  await expect(form(page).getByLabel("End", { exact: true })).toHaveValue(local(later(start, 4)));
  await expect(form(page)).toContainText("4 h. Times in Europe/Berlin");
  await form(page).getByLabel("Title").fill("Marked by clicks");
  await submit(page);
  await expect(page.getByRole("heading", { name: "Marked by clicks" })).toBeVisible();
  // No webhook receives the reservation, so the page does not promise provisioning.
  await expect(provisioning(page)).toHaveText(/Waiting$/);
  await expect(page.getByText("No webhook provisions this resource.")).toBeVisible();

  await page.goto(`/reserve?resource=${resource.id}`);
  await showDay(page, dateOf(start));
  await expect(dayColumn(page, dateOf(start)).locator(".block.own")).toHaveText("Marked by clicks, 10:00 – 14:00");
  const other = await pageOf("bob");
  await other.goto(`/reserve?resource=${resource.id}`);
  await showDay(other, dateOf(start));
  await expect(dayColumn(other, dateOf(start)).locator(".block.busy")).toHaveText("Busy, 10:00 – 14:00");
  await expect(other.getByText("Marked by clicks")).toHaveCount(0);
});

test("the calendar can be used with the keyboard", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const page = await pageOf("alice");
  await page.goto(`/reserve?resource=${resource.id}`);
  await page.getByRole("button", { name: "Next week" }).click();
  // The Tab key reaches one quarter hour; arrow keys move from there.
  await page.getByRole("button", { name: "Next week" }).press("Tab");
  const cursor = page.locator(".cursor");
  await expect(cursor).toBeFocused();
  await page.keyboard.press("Home");
  for (let n = 0; n < 41; n += 1) await page.keyboard.press("ArrowDown");
  await expect(cursor).toHaveAccessibleName(/ 10:15, free$/);
  await expect(cursor).toBeInViewport();
  await page.keyboard.press("Enter");
  await expect(cursor).toHaveAccessibleName(/ 10:15, selected$/);
  for (let n = 0; n < 6; n += 1) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await expect(form(page).getByLabel("Start")).toHaveValue(/T10:15$/);
  await expect(form(page).getByLabel("End", { exact: true })).toHaveValue(/T11:45$/);
  // From the last quarter hour of the week to the next week.
  await page.keyboard.press("End");
  await expect(cursor).toHaveAccessibleName(/ 23:45, free$/);
  await page.keyboard.press("PageDown");
  await expect(cursor).toBeFocused();
  await expect(cursor).toHaveAccessibleName(/ 23:45, free$/);
});

test("the suggested time is free, and a reservation of another user is reported before the form is sent", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  // From the next full hour, with a gap that is too short.
  await berth.api.reserve(resource.id, 1);
  await berth.api.reserve(resource.id, 4);
  const page = await pageOf("alice");
  await page.goto(`/reserve?resource=${resource.id}`);
  await expect(form(page).getByLabel("Start")).toHaveValue(local(nextHour(6)));
  await expect(form(page).getByLabel("End", { exact: true })).toHaveValue(local(nextHour(8)));
  await expect(form(page).getByText("Already reserved:")).toHaveCount(0);
  await form(page).getByLabel("Start").fill(local(nextHour(5)));
  await expect(form(page)).toContainText("Already reserved:");
});

test("a drag across a reservation ends at it, with a message", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const ten = tenOClock(8);
  const span = { resource_id: resource.id, start_time: later(ten, 2).toISOString(), end_time: later(ten, 3).toISOString() };
  await berth.api.post("/reservations", span);
  const page = await pageOf("alice");
  await page.goto(`/reserve?resource=${resource.id}`);
  const date = dateOf(ten);
  await showDay(page, date);
  await expect.poll(() => blocks(page, date, "busy")).toEqual([[720, 780]]);
  await drag(page, date, 600, 840);
  await expect(form(page).getByLabel("Start")).toHaveValue(`${date}T10:00`);
  await expect(form(page).getByLabel("End", { exact: true })).toHaveValue(`${date}T12:00`);
  await expect(message(page)).toContainText(/Limited by a reservation: .*12:00\s?–\s?13:00/);
  await drag(page, date, 840, 660);
  await expect(form(page).getByLabel("Start")).toHaveValue(`${date}T13:00`);
  await expect(form(page).getByLabel("End", { exact: true })).toHaveValue(`${date}T14:00`);
  await drag(page, date, 840, 900);
  await expect(form(page).getByLabel("End", { exact: true })).toHaveValue(`${date}T15:00`);
  await expect(message(page)).toBeEmpty();
  await clickOn(page, date, 735);
  await expect(message(page)).toContainText("Reserved:");
  // The selection looks the same below the mouse.
  const selected = dayColumn(page, date).locator(".block.selected");
  const color = () => selected.evaluate((block) => getComputedStyle(block).backgroundColor);
  const before = await color();
  await dayColumn(page, date).hover({ position: { x: 30, y: (870 * 12) / 15 } });
  expect(await color()).toBe(before);
});

test("on a touch device, a tapped quarter hour looks selected, also below a mouse", async ({ berth, browser }) => {
  const resource = await berth.resource();
  const options = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
  const page = await logInByApi(browser, berth, "alice", options);
  await page.goto(`/reserve?resource=${resource.id}`);
  // Late in the evening, the suggested time is tomorrow.
  const date = dateOf(tenOClock(2));
  await showDay(page, date);
  const column = dayColumn(page, date);
  const quarter = async (minutes: number) => ({ position: await pointAt(page, date, minutes) });
  // A point at 10:52, at the left of the column: beside the texts of the selection and of the time below the mouse.
  const { y } = await pointAt(page, date, 649);
  const point = async () => {
    const box = await column.boundingBox();
    if (box === null) throw new Error("the column is not visible");
    return { x: box.x + 8, y: box.y + y };
  };
  await expect(form(page).getByLabel("Start")).not.toHaveValue("");
  await expect(async () => {
    await column.hover({ ...(await quarter(645)), trial: true });
    const visible = page.evaluate(({ x, y }) => document.elementFromPoint(x, y)?.getAttribute("data-date"), await point());
    expect(await visible).toBe(date);
  }).toPass();
  expect(await blocks(page, date, "selected")).toEqual([]);
  const free = await colorAt(page, await point());
  await column.tap(await quarter(615));
  await expect(form(page).getByLabel("Start")).toHaveValue(`${date}T10:15`);
  await expect.poll(() => blocks(page, date, "selected")).toEqual([[615, 675]]);
  // A tap is no hovering: nothing covers the selection.
  expect(await blocks(page, date, "hovered")).toEqual([]);
  const legend = page.locator(".legend i.selected");
  const selected = await legend.evaluate((mark) => getComputedStyle(mark).backgroundColor);
  expect(selected).not.toEqual(free);
  // The browser highlights the tapped element for a moment.
  const visible = async () => colorAt(page, await point());
  await expect.poll(visible).toEqual(selected);
  // Some devices with touch have a mouse too.
  const { x: mouseX, y: mouseY } = await point();
  await page.mouse.move(mouseX, mouseY);
  await expect.poll(() => blocks(page, date, "hovered")).toEqual([[645, 660]]);
  expect(await visible()).toEqual(selected);
  // The second tap selects the end.
  await column.tap(await quarter(720));
  await expect.poll(() => blocks(page, date, "selected")).toEqual([[615, 720]]);
  await expect.poll(visible).toEqual(selected);
  await page.context().close();
});

test("a start that is entered before the calendar has loaded is kept, and gets an end", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const page = await pageOf("alice");
  let load = () => {};
  const entered = new Promise<void>((resolve) => (load = resolve));
  await page.route("**/rpc/busy", async (route) => {
    await entered;
    await route.continue();
  });
  await page.goto(`/reserve?resource=${resource.id}`);
  const date = dateOf(tenOClock(9));
  await form(page).getByLabel("Start").fill(`${date}T10:00`);
  load();
  await expect(form(page).getByLabel("End", { exact: true })).toHaveValue(`${date}T12:00`);
  await expect(form(page).getByLabel("Start")).toHaveValue(`${date}T10:00`);
  await expect(dayColumn(page, date)).toBeVisible();
});

test("a start in another week moves the calendar and a start after the end moves the end", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const page = await pageOf("alice");
  await page.goto(`/reserve?resource=${resource.id}`);
  const start = form(page).getByLabel("Start");
  const end = form(page).getByLabel("End", { exact: true });
  await expect(end).not.toHaveValue("");
  const later30 = tenOClock(30);
  await start.fill(local(later30));
  await expect(end).toHaveValue(local(later(later30, 2)));
  await expect(dayColumn(page, dateOf(later30))).toBeVisible();
  await expect.poll(() => blocks(page, dateOf(later30), "selected")).toEqual([[600, 720]]);
  // A start before the end keeps it.
  await start.fill(local(later(later30, 1)));
  await expect(end).toHaveValue(local(later(later30, 2)));
});

test("another resource keeps the input", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const other = await berth.resource();
  const page = await pageOf("alice");
  await page.goto(`/reserve?resource=${resource.id}`);
  const values = { Title: "Kept", "SSH public key": SSH_KEY, Start: local(tenOClock(9)), "Number of GPUs": "7" };
  await expect(form(page).getByLabel("Start")).not.toHaveValue("");
  for (const [label, value] of Object.entries(values)) await form(page).getByLabel(label).fill(value);
  await page.getByRole("button", { name: new RegExp(`^${other.name} `) }).click();
  await expect(page.getByRole("heading", { name: other.name })).toBeVisible();
  for (const [label, value] of Object.entries(values)) await expect(form(page).getByLabel(label)).toHaveValue(value);
  await expect.poll(() => blocks(page, dateOf(tenOClock(9)), "selected")).toEqual([[600, 720]]);
});

test("many resources are one tab stop between the search and the calendar", async ({ berth, pageOf }) => {
  const resources: { id: number; name: string }[] = [];
  for (let n = 0; n < 40; n += 1) resources.push(await berth.resource({ location: "Long list" }));
  const page = await pageOf("alice");
  await page.goto(`/reserve?resource=${resources[3]?.id}`);
  const search = page.getByLabel("Find a resource");
  await search.fill("Long list");
  await expect(page.locator(".resource-choice")).toHaveCount(40);
  await search.focus();
  // The type, the list, three buttons, and the calendar.
  const choice = (n: number) => page.getByRole("button", { name: new RegExp(`^${resources[n]?.name} `) });
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await expect(choice(3)).toBeFocused();
  await page.keyboard.press("ArrowDown");
  await expect(choice(4)).toBeFocused();
  await page.keyboard.press("End");
  await expect(page.locator(".resource-choice").last()).toBeFocused();
  for (let n = 0; n < 4; n += 1) await page.keyboard.press("Tab");
  await expect(page.locator(".cursor")).toBeFocused();
});

test("the configuration form has the fields of the type and validates them", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const page = await pageOf("alice");
  await page.goto(`/reserve?resource=${resource.id}`);
  const fields = form(page);
  await expect(fields.getByLabel("GPU", { exact: true })).toHaveValue("nvidia-a100");
  await expect(fields.getByLabel("Number of GPUs")).toHaveValue("4");
  await expect(fields.getByLabel("Number of GPUs")).toHaveAccessibleDescription(/1 to 16/);
  await expect(fields.getByRole("checkbox", { name: "Nobody else on the node" })).not.toBeChecked();
  for (const [label, bad, message] of [
    ["Number of GPUs", "17", /16/],
    ["Number of GPUs", "many", /whole number/i],
    ["Number of GPUs", "", /.+/],
    ["Memory (GB)", "1.5", /whole number/i],
    ["Purpose", "x".repeat(41), /40/],
  ] as const) {
    const field = fields.getByLabel(label);
    const good = await field.inputValue();
    await field.fill(bad);
    await submit(page);
    await expect(field).toHaveAttribute("aria-invalid", "true");
    await expect(field).toHaveAccessibleDescription(message);
    await field.fill(good);
  }
  await fields.getByLabel("GPU", { exact: true }).selectOption("nvidia-h100");
  await fields.getByRole("checkbox", { name: "Nobody else on the node" }).check();
  await submit(page);
  await expect(page).toHaveURL(/\/reservations\/rsv-/);
  const id = new URL(page.url()).pathname.split("/").at(-1);
  const saved = await berth.api.get<Reservation>(`/reservations/${id}`);
  expect(saved).toMatchObject({ additional_config: { gpu_type: "nvidia-h100", gpu_count: 4, memory_gb: 512, exclusive: true } });
});

test("invalid keys and times show an error with a remedy", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const page = await pageOf("alice");
  await page.goto(`/reserve?resource=${resource.id}`);
  const key = form(page).getByLabel("SSH public key");
  for (const [bad, message] of [
    ["-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb", /This is a private key/],
    ["ssh-ed25519 AAAA", /not an OpenSSH public key/],
    ["hello", /not an OpenSSH public key/],
    [`${SSH_KEY}\n${SSH_KEY}`, /Paste one key/],
  ] as const) {
    await key.fill(bad);
    await submit(page);
    await expect(key).toHaveAccessibleDescription(message);
  }
  await key.fill(SSH_KEY);
  const start = form(page).getByLabel("Start");
  const end = form(page).getByLabel("End", { exact: true });
  await start.fill(local(tenOClock(-2)));
  await submit(page);
  await expect(start).toHaveAccessibleDescription(/in the past/);
  await start.fill(local(tenOClock(2)));
  await end.fill(local(later(tenOClock(2), -1)));
  await submit(page);
  await expect(end).toHaveAccessibleDescription(/must be after the start/);
  await end.fill("");
  await submit(page);
  await expect(end).toHaveAccessibleDescription(/Enter a date and time/);
  await end.fill(local(later(tenOClock(2), 1)));
  await submit(page);
  await expect(page).toHaveURL(/\/reservations\/rsv-/);
  await expect(page.getByText(/^ssh-ed25519 ….* alice@laptop$/)).toBeVisible();
});

test("the second of two conflicting reservations is rejected and keeps its input", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const pages = [await pageOf("alice"), await pageOf("bob")];
  for (const page of pages) {
    await page.goto(`/reserve?resource=${resource.id}`);
    await form(page).getByLabel("Start").fill(local(tenOClock(3)));
    await form(page).getByLabel("End", { exact: true }).fill(local(later(tenOClock(3), 2)));
    await form(page).getByLabel("Title").fill("Mine");
  }
  await Promise.all(pages.map(submit));
  const isReserved = (page: Page) => page.getByRole("heading", { name: "Mine", level: 1 });
  const conflict = (page: Page) => form(page).getByRole("alert");
  for (const page of pages) await expect(isReserved(page).or(conflict(page))).toBeVisible();
  const losers = [];
  for (const page of pages) if (await conflict(page).isVisible()) losers.push(page);
  expect(losers).toHaveLength(1);
  const [loser] = losers as [Page];
  await expect(conflict(loser)).toContainText("already reserved");
  await expect(form(loser).getByLabel("Title")).toHaveValue("Mine");
  await form(loser).getByLabel("Start").fill(local(later(tenOClock(3), 2)));
  await form(loser).getByLabel("End", { exact: true }).fill(local(later(tenOClock(3), 3)));
  await submit(loser);
  await expect(isReserved(loser)).toBeVisible();
});

test("a reservation is modified and cancelled", async ({ berth, pageOf }) => {
  const alice = await berth.as("alice");
  const resource = await berth.resource();
  const blocked = await alice.reserve(resource.id, 30);
  const reservation = await alice.reserve(resource.id, 24);
  const page = await pageOf("alice");
  await page.goto(`/reservations/${reservation.id}`);
  await page.getByRole("button", { name: "Modify" }).click();
  const modify = page.getByRole("dialog", { name: "Modify reservation" });
  await modify.getByLabel("End", { exact: true }).fill(local(nextHour(31)));
  await modify.getByRole("button", { name: "Save changes" }).click();
  await expect(modify.getByRole("alert")).toContainText("already reserved");
  await modify.getByLabel("End", { exact: true }).fill(local(nextHour(27)));
  await modify.getByLabel("Title").fill("Longer");
  await modify.getByLabel("Number of GPUs").fill("8");
  await modify.getByRole("button", { name: "Save changes" }).click();
  await expect(modify).toBeHidden();
  await expect(page.getByRole("heading", { name: "Longer", level: 1 })).toBeVisible();
  expect(await berth.api.get(`/reservations/${reservation.id}`)).toMatchObject({
    title: "Longer",
    end_time: nextHour(27).toISOString().replace(".000Z", "Z"),
    additional_config: { gpu_count: 8 },
  });

  await page.getByRole("button", { name: "Cancel reservation" }).click();
  const cancel = page.getByRole("dialog", { name: "Cancel this reservation?" });
  await cancel.getByRole("button", { name: "Keep reservation" }).click();
  await expect(cancel).toBeHidden();
  await page.getByRole("button", { name: "Cancel reservation" }).click();
  await cancel.getByLabel("Reason").fill("Changed my mind");
  await cancel.getByRole("button", { name: "Cancel reservation" }).click();
  await expect(page.getByText("by alice: Changed my mind")).toBeVisible();
  await expect(page.getByRole("button", { name: "Modify" })).toHaveCount(0);

  // The page of another user's reservation shows no data.
  const other = await pageOf("bob");
  await other.goto(`/reservations/${blocked.id}`);
  await expect(other.getByRole("alert")).toContainText("This reservation does not exist");
});

test("access is requested, approved and used", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  await berth.api.webhook({ endpoint_url: service.endpoint, events: ["user.access_requested"] });
  const resource = await berth.resource({ status: "restricted" });
  const admin = await pageOf("admin");
  await admin.goto("/access-requests");
  const page = await pageOf("bob");
  await page.goto(`/reserve?resource=${resource.id}`);
  const ask = page.getByRole("region", { name: "Request access" });
  await ask.getByRole("button", { name: "Request access" }).click();
  await expect(ask.getByLabel("Reason")).toHaveAttribute("aria-invalid", "true");
  await ask.getByLabel("Reason").fill("The thesis is due");
  await ask.getByRole("button", { name: "Request access" }).click();
  await expect(ask).toContainText("Request sent. You will be notified.");
  await expect.poll(() => service.received.map((request) => request.path)).toEqual(["/api/webhook/access-request"]);

  // The page of the administrator updates itself.
  const row = admin.getByRole("row").filter({ hasText: resource.name });
  await expect(row).toContainText("The thesis is due");
  await row.getByRole("button", { name: "Approve request from bob" }).click();
  await expect(row).toHaveCount(0);
  await page.goto("/access-requests");
  await expect(page.getByRole("row").filter({ hasText: resource.name })).toContainText("Approved");
  await page.goto(`/reserve?resource=${resource.id}`);
  await submit(page);
  await expect(page).toHaveURL(/\/reservations\/rsv-/);
  const mine = await berth.api.get<ApiPage<Reservation>>(`/reservations?resource_id=${resource.id}`);
  expect(mine.items.map((r) => r.user_id)).toEqual(["bob"]);
});

test("revoked access updates the user's open page", async ({ berth, pageOf }) => {
  const resource = await berth.resource({ status: "restricted" });
  const bob = await berth.as("bob");
  const asked = await bob.post<{ id: string }>("/access-requests", { resource_id: resource.id, reason: "The thesis is due" });
  const page = await pageOf("bob");
  await page.goto(`/reserve?resource=${resource.id}`);
  const ask = page.getByRole("region", { name: "Request access" });
  await expect(ask).toContainText("Request sent. You will be notified.");
  await berth.api.post(`/access-requests/${asked.id}/approve`);
  await form(page).getByLabel("Title").fill("Half filled in");

  const admin = await pageOf("admin");
  await admin.goto("/access-requests?status=approved");
  const row = admin.getByRole("row").filter({ hasText: resource.name });
  await row.getByRole("button", { name: "Revoke access for bob" }).click();
  const dialog = admin.getByRole("dialog", { name: "Revoke this access?" });
  await expect(dialog).toContainText(resource.name);
  await dialog.getByRole("button", { name: "Revoke access" }).click();
  await expect(dialog).toBeHidden();
  await expect(row).toHaveCount(0);
  await expect(ask.getByRole("button", { name: "Request access" })).toBeVisible();
  await expect(form(page)).toHaveCount(0);
});

test("a resource in maintenance cannot be reserved", async ({ berth, pageOf }) => {
  const resource = await berth.resource({ status: "maintenance" });
  const page = await pageOf("alice");
  await page.goto(`/reserve?resource=${resource.id}`);
  await expect(page.getByText("This resource is in maintenance.")).toBeVisible();
  await expect(form(page)).toHaveCount(0);
});
