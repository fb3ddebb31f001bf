// Times in the reader's zone and locale: the calendar, changes of the clocks, conflicts, and the preferences.

import type { Locator, Page } from "@playwright/test";
import { type Berth, expect, logInByApi, test } from "../fixtures.ts";
import { type Reservation } from "../support/api.ts";
import {
  ZONES,
  blocks,
  clickOn,
  dateIn,
  dayColumn,
  instantIn,
  localIn,
  nextClockChange,
  showDay,
} from "../support/calendar.ts";

const HOUR = 3_600_000;
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };

const form = (page: Page) => page.getByRole("region", { name: "Reservation", exact: true });
const start = (page: Page) => form(page).getByLabel("Start", { exact: true });
const end = (page: Page) => form(page).getByLabel("End", { exact: true });
const submit = (page: Page) => form(page).getByRole("button", { name: "Reserve" }).click();

/** The reservation whose page is open. */
async function reserved(page: Page, berth: Berth): Promise<{ start_time: string; end_time: string }> {
  await expect(page).toHaveURL(/\/reservations\/rsv-/);
  return berth.api.get(`/reservations/${new URL(page.url()).pathname.split("/").at(-1)}`);
}

/** The form of the API for a time without milliseconds. */
const wire = (time: Date) => time.toISOString().replace(".000Z", "Z");

function reserve(berth: Berth, resource: number, from: Date, to: Date): Promise<Reservation> {
  return berth.api.post("/reservations", { resource_id: resource, start_time: from.toISOString(), end_time: to.toISOString() });
}

for (const timezoneId of ZONES) {
  for (const viewport of [DESKTOP, PHONE]) {
    test(`${timezoneId}, ${viewport.width} px: selected quarter hours are reserved and drawn where they are`, async ({ berth, browser }) => {
      const resource = await berth.resource();
      const page = await logInByApi(browser, berth, "alice", { timezoneId, viewport });
      await page.goto(`/reserve?resource=${resource.id}`);
      const date = dateIn(timezoneId, 8);
      await showDay(page, date);
      await clickOn(page, date, 9 * 60 + 30);
      await expect(start(page)).toHaveValue(`${date}T09:30`);
      await expect(end(page)).toHaveValue(`${date}T10:30`);
      await clickOn(page, date, 11 * 60 + 45);
      await expect(end(page)).toHaveValue(`${date}T11:45`);
      await expect.poll(() => blocks(page, date, "selected")).toEqual([[570, 705]]);
      // Chromium calls the zone Asia/Calcutta.
      await expect(form(page)).toContainText(`2 h 15 min. Times in ${timezoneId.replace("Kolkata", "Calcutta")}`);
      await submit(page);
      const times = [wire(instantIn(timezoneId, `${date}T09:30`)), wire(instantIn(timezoneId, `${date}T11:45`))];
      const made = await reserved(page, berth);
      expect([made.start_time, made.end_time]).toEqual(times);
      await page.goto(`/reserve?resource=${resource.id}`);
      await showDay(page, date);
      await expect.poll(() => blocks(page, date, "own")).toEqual([[570, 705]]);
      // The quarter hour before and after is free.
      await clickOn(page, date, 9 * 60 + 15);
      await expect(end(page)).toHaveValue(`${date}T09:30`);
      await clickOn(page, date, 11 * 60 + 45);
      await clickOn(page, date, 11 * 60 + 45);
      await expect(start(page)).toHaveValue(`${date}T11:45`);
      await page.context().close();
    });
  }

  test(`${timezoneId}: a conflict is reported in local time`, async ({ berth, browser }) => {
    const resource = await berth.resource();
    const date = dateIn(timezoneId, 9);
    const [from, to] = [instantIn(timezoneId, `${date}T10:15`), instantIn(timezoneId, `${date}T12:00`)];
    const page = await logInByApi(browser, berth, "alice", { timezoneId });
    await page.goto(`/reserve?resource=${resource.id}`);
    await start(page).fill(`${date}T11:00`);
    await end(page).fill(`${date}T13:00`);
    // The page has not loaded the other reservation when it sends its own.
    await page.route("**/rpc/busy", (route) => route.abort());
    await reserve(berth, resource.id, from, to);
    await submit(page);
    const format = new Intl.DateTimeFormat("en-GB", {
      ...{ weekday: "short", day: "numeric", month: "short", hour: "numeric", minute: "2-digit", timeZone: timezoneId },
    });
    const alert = form(page).getByRole("alert");
    await expect(alert).toContainText(`already reserved: ${format.formatRange(from, to)}.`);
    await expect(alert).not.toContainText("UTC");
    // Another time removes the message.
    await start(page).fill(`${date}T12:00`);
    await expect(alert).toHaveCount(0);
    await submit(page);
    expect((await reserved(page, berth)).start_time).toBe(wire(to));
    await page.context().close();
  });
}

for (const timezoneId of ["Europe/Berlin", "America/New_York"] as const) {
  for (const viewport of [DESKTOP, PHONE]) {
    test(`${timezoneId}, ${viewport.width} px: the repeated hour is two hours, and both can be reserved`, async ({ berth, browser }) => {
      const change = nextClockChange(timezoneId, -60);
      const [first, next] = [new Date(change.getTime() - HOUR), new Date(change.getTime() + HOUR)];
      const local = localIn(timezoneId, change);
      const date = local.slice(0, 10);
      const top = Number(local.slice(11, 13)) * 60;
      const resource = await berth.resource();
      await reserve(berth, resource.id, change, next);
      const page = await logInByApi(browser, berth, "alice", { timezoneId, viewport });
      await page.goto(`/reserve?resource=${resource.id}`);
      // Entering a date shows its days.
      await start(page).fill(local);
      await expect(dayColumn(page, date)).toBeVisible();
      // The second hour is reserved; the first one is not.
      await expect.poll(() => blocks(page, date, "busy")).toEqual([[top + 60, top + 120]]);
      await clickOn(page, date, top + 60);
      await expect(page.getByRole("status").filter({ hasText: "Reserved:" })).toBeVisible();
      await clickOn(page, date, top);
      await expect(form(page)).toContainText("· 1 h. Times in");
      await expect.poll(() => blocks(page, date, "selected")).toEqual([[top, top + 60]]);
      // Start and end have the same local time, and differ in the occurrence.
      await expect(start(page)).toHaveValue(local);
      await expect(end(page)).toHaveValue(local);
      await expect(form(page).getByLabel("Occurrence (Start)")).toHaveValue("");
      await expect(form(page).getByLabel("Occurrence (End)")).toHaveValue("second");
      await submit(page);
      const made = await reserved(page, berth);
      expect([made.start_time, made.end_time]).toEqual([wire(first), wire(change)]);
      await expect(page.getByText(/GMT[+-]\d+ – .*GMT[+-]\d+/)).toBeVisible();
      await page.context().close();
    });

    test(`${timezoneId}, ${viewport.width} px: the skipped hour cannot be reserved`, async ({ berth, browser }) => {
      const change = nextClockChange(timezoneId, 60);
      const local = localIn(timezoneId, change);
      const date = local.slice(0, 10);
      const bottom = Number(local.slice(11, 13)) * 60;
      const skipped = `${date}T${String(bottom / 60 - 1).padStart(2, "0")}:30`;
      const resource = await berth.resource();
      const page = await logInByApi(browser, berth, "alice", { timezoneId, viewport });
      await page.goto(`/reserve?resource=${resource.id}`);
      await end(page).fill(`${date}T12:00`);
      await start(page).fill(skipped);
      await expect(start(page)).toHaveAccessibleDescription(/The clocks are set forward over this time\. Enter another one/);
      await submit(page);
      await expect(start(page)).toHaveAttribute("aria-invalid", "true");
      await expect(page).toHaveURL(/\/reserve/);
      await start(page).fill(local);
      await expect(start(page)).toHaveAttribute("aria-invalid", "false");
      expect(await blocks(page, date, "missing")).toEqual([[bottom - 60, bottom]]);
      await clickOn(page, date, bottom - 30);
      await expect(page.getByRole("status").filter({ hasText: "does not exist on this day" })).toBeVisible();
      // The hour before the change ends when the hour after it begins.
      await clickOn(page, date, bottom - 75);
      await expect(end(page)).toHaveValue(`${date}T${local.slice(11, 14)}45`);
      await submit(page);
      const made = await reserved(page, berth);
      expect([made.start_time, made.end_time]).toEqual([wire(new Date(change.getTime() - HOUR / 4)), wire(new Date(change.getTime() + (HOUR * 3) / 4))]);
      await page.context().close();
    });
  }
}

test("the second occurrence of a local time can be entered, and is edited without a change", async ({ berth, browser }) => {
  const timezoneId = "Europe/Berlin";
  const change = nextClockChange(timezoneId, -60);
  const half = new Date(change.getTime() + HOUR / 2);
  const resource = await berth.resource();
  const page = await logInByApi(browser, berth, "alice", { timezoneId });
  await page.goto(`/reserve?resource=${resource.id}`);
  await start(page).fill(localIn(timezoneId, half));
  await form(page).getByLabel("Occurrence (Start)").selectOption("second");
  await end(page).fill(localIn(timezoneId, new Date(half.getTime() + 2 * HOUR)));
  await expect(form(page)).toContainText("· 2 h. Times in");
  await submit(page);
  expect((await reserved(page, berth)).start_time).toBe(wire(half));
  await page.getByRole("button", { name: "Modify" }).click();
  const modify = page.getByRole("dialog", { name: "Modify reservation" });
  await expect(modify.getByLabel("Occurrence (Start)")).toHaveValue("second");
  await modify.getByLabel("Title").fill("Night shift");
  await modify.getByRole("button", { name: "Save changes" }).click();
  await expect(modify).toBeHidden();
  expect((await reserved(page, berth)).start_time).toBe(wire(half));
  await page.context().close();
});

/** The form of the address for a time. */
const inAddress = (time: Date) => encodeURIComponent(wire(time));

for (const timezoneId of ["Europe/Berlin", "America/New_York"] as const) {
  test(`${timezoneId}: the custom range of the delivery log distinguishes the occurrences of a local time and refuses a skipped one`, async ({ berth, browser }) => {
    const page = await logInByApi(browser, berth, "admin", { timezoneId });
    await page.goto("/deliveries");
    await page.getByLabel("Time", { exact: true }).selectOption({ label: "Custom range" });
    const [from, to] = ["From", "To"].map((label) => page.getByLabel(label, { exact: true })) as [Locator, Locator];

    // The clocks are set back: from the first to the second occurrence is an hour.
    const back = nextClockChange(timezoneId, -60);
    const local = localIn(timezoneId, back);
    await from.fill(local);
    await to.fill(local);
    await expect(to).toHaveAccessibleDescription(/To must be after From/);
    await page.getByLabel("Occurrence (To)").selectOption("second");
    await expect(to).not.toHaveAccessibleDescription(/To must be after From/);
    const first = new Date(back.getTime() - HOUR);
    const range = `since=${inAddress(first)}&until=${inAddress(back)}`;
    await expect(page).toHaveURL(new RegExp(`/deliveries\\?${range}$`));
    // The link selects the same times.
    await page.reload();
    await expect(from).toHaveValue(local);
    await expect(to).toHaveValue(local);
    await expect(page.getByLabel("Occurrence (From)")).toHaveValue("");
    await expect(page.getByLabel("Occurrence (To)")).toHaveValue("second");
    await page.getByLabel("Occurrence (From)").selectOption("second");
    await expect(page).toHaveURL(new RegExp(`since=${inAddress(back)}&until=${inAddress(back)}$`));

    // The clocks are set forward: a skipped time limits nothing, with a message and without another time in its place.
    const forward = nextClockChange(timezoneId, 60);
    const hour = Number(localIn(timezoneId, forward).slice(11, 13)) - 1;
    const skipped = `${localIn(timezoneId, forward).slice(0, 10)}T${String(hour).padStart(2, "0")}:30`;
    for (const [input, parameter] of [[from, "since"], [to, "until"]] as const) {
      await input.fill(skipped);
      await expect(input).toHaveAccessibleDescription(/The clocks are set forward over this time\. Enter another one/);
      await expect(page).not.toHaveURL(new RegExp(`${parameter}=`));
      await expect(input).toHaveValue(skipped);
    }
    await from.fill(localIn(timezoneId, forward));
    await expect(page).toHaveURL(new RegExp(`/deliveries\\?since=${inAddress(forward)}$`));
    await expect(from).not.toHaveAccessibleDescription(/set forward/);
    // Clearing the filters empties the inputs too.
    await page.getByRole("button", { name: "Clear filters" }).click();
    await expect(from).toHaveCount(0);
    await page.getByLabel("Time", { exact: true }).selectOption({ label: "Custom range" });
    await expect(from).toHaveValue("");
    await expect(to).toHaveValue("");
    // A link of an earlier release contains local times.
    await page.goto(`/deliveries?since=${localIn(timezoneId, forward)}`);
    await expect(from).toHaveValue(localIn(timezoneId, forward));
    await page.context().close();
  });
}

for (const timezoneId of ZONES) {
  test(`${timezoneId}: after midnight, today is the new day`, async ({ berth, browser }) => {
    await berth.resource();
    const page = await logInByApi(browser, berth, "alice", { timezoneId });
    const [today, tomorrow] = [dateIn(timezoneId, 0), dateIn(timezoneId, 1)];
    await page.clock.install({ time: instantIn(timezoneId, `${today}T23:58`) });
    await page.goto("/reserve");
    // On a Sunday evening, the suggested start is in the next week, which the calendar shows first.
    await page.getByRole("button", { name: "Today" }).click();
    const todayHead = page.locator(".day-head.today");
    const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
    await expect(todayHead).toContainText(day.format(new Date(today)));
    await page.clock.fastForward(180_000);
    await page.getByRole("button", { name: "Today" }).click();
    await expect(todayHead).toContainText(day.format(new Date(tomorrow)));
    await expect(dayColumn(page, tomorrow)).toBeVisible();
    await page.context().close();
  });
}

test("on a phone, today is the first day, and the hours stay visible", async ({ berth, browser }) => {
  const resource = await berth.resource();
  const page = await logInByApi(browser, berth, "alice", { viewport: PHONE });
  await page.goto(`/reserve?resource=${resource.id}`);
  await expect(page.locator(".day")).toHaveCount(3);
  await expect(page.locator(".day").first()).toHaveAttribute("data-date", dateIn("Europe/Berlin", 0));
  const scroller = page.locator(".calendar-scroll");
  expect(await scroller.evaluate((element) => element.scrollWidth - element.clientWidth)).toBe(0);
  await page.locator(".cursor").scrollIntoViewIfNeeded();
  await expect(page.locator(".hours")).toBeInViewport();
  // A wider window shows the week.
  await page.setViewportSize(DESKTOP);
  await expect(page.locator(".day")).toHaveCount(7);
  await page.context().close();
});

/** The first column of the calendar, and the label of 14:00. */
async function expectFormats(page: Page, firstDay: string, afternoon: string): Promise<void> {
  const calendar = page.getByRole("region", { name: "Calendar" });
  await expect(calendar.locator(".day-head").nth(1)).toContainText(firstDay);
  await expect(calendar.locator(".hours").getByText(afternoon, { exact: true })).toBeVisible();
}

test("the reader overrides the formats of the locale, and the browser remembers it", async ({ berth, browser }) => {
  await berth.resource();
  const page = await logInByApi(browser, berth, "alice", { locale: "en-US" });
  await page.goto("/reserve");
  await expectFormats(page, "Sun", "2:00 PM");
  await page.goto("/settings/account");
  await page.getByLabel("Clock").selectOption("24-hour");
  await expect(page.getByText(/^Example: [A-Z][a-z]{2} \d+, \d{4}, \d\d:\d\d\. Weeks start on Sun\./)).toBeVisible();
  await page.getByLabel("First day of the week").selectOption("Monday");
  await expect(page.getByText(/Weeks start on Mon\./)).toBeVisible();
  await page.goto("/reserve");
  await expectFormats(page, "Mon", "14:00");
  await page.goto("/settings/account");
  await expect(page.getByLabel("Clock")).toHaveValue("h23");
  await page.getByLabel("Clock").selectOption("As in the format");
  await page.getByLabel("First day of the week").selectOption("As in the format");
  await page.getByLabel("Format", { exact: true }).selectOption("German (Germany)");
  // Without a reload.
  await page.getByRole("link", { name: "Reserve", exact: true }).click();
  await expectFormats(page, "Mo", "14:00");
  await page.context().close();
});

test("the preferred languages of the browser decide, not the language of its menus", async ({ berth, browser }) => {
  await berth.resource();
  const page = await logInByApi(browser, berth, "alice", { locale: "de-DE" });
  await page.addInitScript(() => {
    Object.defineProperty(navigator, "languages", { value: ["en-US@posix", "en-US"] });
    // Firefox does not report the first day of the week.
    Reflect.deleteProperty(Intl.Locale.prototype, "getWeekInfo");
  });
  await page.goto("/reserve");
  await expectFormats(page, "Sun", "2:00 PM");
  await page.context().close();
});
