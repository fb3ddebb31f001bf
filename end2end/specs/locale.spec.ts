// Dates, times, numbers and the calendar in the reader's locale.

import type { Page } from "@playwright/test";
import { type Berth, expect, logInByApi, test } from "../fixtures.ts";

// The configuration sets this zone, so Node and the browser compute the same local times.
const ZONE = "Europe/Berlin";

/** A reservation tomorrow from 14:00 to 16:30 in the zone of the browser. */
async function reserveAfternoon(berth: Berth): Promise<{ id: string; resource: number; start: Date; end: Date }> {
  const start = new Date();
  start.setDate(start.getDate() + 1);
  start.setHours(14, 0, 0, 0);
  const end = new Date(start.getTime() + 150 * 60_000);
  const resource = await berth.resource();
  const alice = await berth.as("alice");
  const body = { resource_id: resource.id, start_time: start.toISOString(), end_time: end.toISOString() };
  const { id } = await alice.post<{ id: string }>("/reservations", body);
  return { id, resource: resource.id, start, end };
}

/** The value beside a label in a list of details. */
const detail = (page: Page, label: string) =>
  page.getByRole("term").filter({ hasText: new RegExp(`^${label}$`) }).locator("+ dd");

for (const { locale, clock, firstDay } of [
  { locale: "en-GB", clock: "14:00", firstDay: "Mon" },
  { locale: "en-US", clock: "2:00 PM", firstDay: "Sun" },
  { locale: "de-DE", clock: "14:00", firstDay: "Mo" },
]) {
  test(`${locale}: dates, clock and week start follow the locale`, async ({ berth, browser }) => {
    const reservation = await reserveAfternoon(berth);
    const page = await logInByApi(browser, berth, "alice", { locale });
    await page.goto(`/reservations/${reservation.id}`);
    const timestamp = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short", timeZone: ZONE });
    await expect(detail(page, "Starts")).toHaveText(timestamp.format(reservation.start));
    await expect(detail(page, "Starts")).toContainText(clock);
    await expect(detail(page, "Ends")).toHaveText(timestamp.format(reservation.end));

    await page.goto(`/reserve?resource=${reservation.resource}`);
    const calendar = page.getByRole("region", { name: "Calendar" });
    await expect(calendar.locator(".hours").getByText(clock, { exact: true })).toBeVisible();
    // The first header is that of the hours.
    await expect(calendar.locator(".day-head").nth(1)).toContainText(firstDay);
    await page.context().close();
  });
}

test("de-DE: numbers, durations and relative times follow the locale", async ({ berth, browser, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  const resource = await berth.resource();
  await berth.api.reserve(resource.id);
  const page = await logInByApi(browser, berth, "admin", { locale: "de-DE" });
  await page.goto(`/settings/webhooks/${webhook.id}`);
  const figure = (name: string) => page.getByRole("term").filter({ hasText: name }).locator("+ dd");
  await expect(figure("Success rate")).toHaveText(/^100\s%$/);
  await expect(figure("Response time p95")).toHaveText(/^(\d,\d|\d\d+) ms$/);
  await expect(detail(page, "Created")).toHaveText(/^(jetzt|vor \d+ Sek\.)$/);
  await page.context().close();
});
