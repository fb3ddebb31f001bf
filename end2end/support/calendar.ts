// The calendar of the page, and local times of time zones.

import type { Locator, Page } from "@playwright/test";

/** The zones in which the tests of times run: with changes of the clocks, with half hours, and west of UTC. */
export const ZONES = ["Europe/Berlin", "Asia/Kolkata", "America/New_York"] as const;

const MINUTE = 60_000;

/** The offset of a zone from UTC in minutes. */
export function offsetIn(zone: string, time: Date): number {
  const parts = new Intl.DateTimeFormat("en-US", { timeZone: zone, timeZoneName: "longOffset" }).formatToParts(time);
  const name = parts.find((part) => part.type === "timeZoneName")?.value ?? "";
  const [, sign, hours, minutes] = /^GMT(?:([+-])(\d\d):(\d\d))?$/.exec(name) ?? [];
  return (sign === "-" ? -1 : 1) * (Number(hours ?? 0) * 60 + Number(minutes ?? 0));
}

/** The value of a `datetime-local` input in a zone. */
export function localIn(zone: string, time: Date): string {
  return new Date(time.getTime() + offsetIn(zone, time) * MINUTE).toISOString().slice(0, 16);
}

/** The instant of a local time in a zone, which must exist and occur once. */
export function instantIn(zone: string, local: string): Date {
  const asUtc = new Date(`${local}Z`).getTime();
  const guess = new Date(asUtc - offsetIn(zone, new Date(asUtc)) * MINUTE);
  return new Date(asUtc - offsetIn(zone, guess) * MINUTE);
}

/** The date `days` after today in a zone. */
export function dateIn(zone: string, days: number): string {
  const today = new Date(`${localIn(zone, new Date()).slice(0, 10)}T12:00Z`);
  return new Date(today.getTime() + days * 1_440 * MINUTE).toISOString().slice(0, 10);
}

/** The instant after which a zone has another offset: the next change by `minutes` that is at least a week ahead. */
export function nextClockChange(zone: string, minutes: number): Date {
  const day = 1_440 * MINUTE;
  let before = Math.ceil(Date.now() / day) * day + 7 * day;
  while (offsetIn(zone, new Date(before + day)) - offsetIn(zone, new Date(before)) !== minutes) before += day;
  let after = before + day;
  while (after - before > MINUTE) {
    const middle = Math.round((before + after) / 2 / MINUTE) * MINUTE;
    if (offsetIn(zone, new Date(middle)) === offsetIn(zone, new Date(before))) before = middle;
    else after = middle;
  }
  return new Date(after);
}

/** The column of a day. */
export const dayColumn = (page: Page, date: string): Locator => page.locator(`.day[data-date="${date}"]`);

/** The number of rows of the calendar, each a quarter hour. */
async function rows(page: Page): Promise<number> {
  return page.locator(".time-grid").evaluate((grid) => Number(getComputedStyle(grid).getPropertyValue("--rows")));
}

/** The point in a column that is `minutes` below the top of the grid, and a little more. */
export async function pointAt(page: Page, date: string, minutes: number): Promise<{ x: number; y: number }> {
  const { width, height } = await dayColumn(page, date).evaluate((day) => ({ width: day.clientWidth, height: day.clientHeight }));
  return { x: width / 2, y: ((minutes + 3) * height) / ((await rows(page)) * 15) };
}

/** Clicks on a quarter hour, `minutes` below the top of the grid. */
export async function clickOn(page: Page, date: string, minutes: number): Promise<void> {
  await dayColumn(page, date).click({ position: await pointAt(page, date, minutes) });
}

/** Drags from one quarter hour of a day to another. */
export async function drag(page: Page, date: string, from: number, to: number): Promise<void> {
  const column = dayColumn(page, date);
  const ends = [await pointAt(page, date, from), await pointAt(page, date, to)] as const;
  // The calendar scrolls to the present hour. A drag does not scroll it, so both ends must be visible.
  await column.evaluate((day, middle) => {
    let box = day.parentElement;
    while (box !== null && box.scrollHeight <= box.clientHeight + 1) box = box.parentElement;
    if (box === null) return;
    const top = day.getBoundingClientRect().top - box.getBoundingClientRect().top + box.scrollTop;
    box.scrollTop = top + middle - box.clientHeight / 2;
  }, (ends[0].y + ends[1].y) / 2);
  await column.hover({ position: ends[0] });
  await page.mouse.down();
  const box = await column.boundingBox();
  if (box === null) throw new Error("the column is not visible");
  await page.mouse.move(box.x + ends[1].x, box.y + ends[1].y, { steps: 5 });
  await page.mouse.up();
}

/** The blocks of a kind on a day, each as minutes below the top of the grid. */
export async function blocks(page: Page, date: string, kind: string): Promise<[number, number][]> {
  return dayColumn(page, date).locator(`.block.${kind}`).evaluateAll((found) =>
    found.map((block) => {
      const style = getComputedStyle(block);
      return [Number(style.getPropertyValue("--from")), Number(style.getPropertyValue("--to"))] as [number, number];
    }),
  );
}

/** Shows later days until a day is visible. */
export async function showDay(page: Page, date: string): Promise<void> {
  await page.locator(".time-grid .day").first().waitFor();
  for (let n = 0; n < 60 && (await dayColumn(page, date).count()) === 0; n += 1) {
    await page.getByRole("button", { name: /^Next (week|days)$/ }).click();
  }
}
