// Long lists keep the rows and the position of the reader.

import type { Locator, Page } from "@playwright/test";
import type { Api } from "../support/api.ts";
import { deliveryRows, expect, logInByApi, setVisibility, test } from "../fixtures.ts";
import { responds } from "../support/test-receiver.ts";

/** Reserves a resource several times, one after the other. */
async function reserveMany(user: Api, resource: number, first: number, count: number): Promise<void> {
  for (let n = first; n < first + count; n += 1) await user.reserve(resource, 3 * n, { title: `Reservation ${n}` });
}

/** The distance of an element from the top of the window. */
const topOf = (element: Locator) => element.evaluate((node) => Math.round(node.getBoundingClientRect().top));

/** Presses *Show more* three times and scrolls down to a row. Returns the row and its position. */
async function readDown(page: Page, rows: Locator, row: Locator): Promise<number> {
  for (const count of [100, 150, 200]) {
    await page.getByRole("button", { name: "Show more" }).click();
    await expect(rows).toHaveCount(count);
  }
  await row.evaluate((node) => node.scrollIntoView({ block: "center" }));
  return topOf(row);
}

test("200 rows and the scroll position survive hiding the page, Back and a reload", async ({ berth, browser }) => {
  test.setTimeout(180_000);
  const user = { username: "reader", password: "staple battery horse" };
  await berth.api.post("/users", { ...user, email: "reader@example.com", role: "user" });
  const reader = await berth.as(user.username);
  const resource = await berth.resource();
  await reserveMany(reader, resource.id, 1, 220);
  const page = await logInByApi(browser, berth, user.username, {}, user.password);
  await page.clock.install();
  await page.goto("/reservations");
  const rows = page.locator("#main .reservation-row");
  const row = rows.filter({ hasText: /^Reservation 60(?!\d)/ });
  const top = await readDown(page, rows, row);

  // A hidden page leaves the live feed after 10 s, and fetches again when it is visible.
  await setVisibility(page, "hidden");
  await page.clock.fastForward(11_000);
  await reserveMany(reader, resource.id, 221, 3);
  const response = page.waitForResponse("**/rpc/list-reservations");
  await setVisibility(page, "visible");
  await response;
  const pill = page.getByRole("button", { name: "3 new" });
  await expect(pill).toBeVisible();
  await expect(rows).toHaveCount(200);
  expect(await topOf(row)).toBe(top);

  await row.click();
  await expect(page.getByRole("heading", { name: "Reservation 60", level: 1 })).toBeFocused();
  expect(await page.evaluate(() => scrollY)).toBe(0);
  await page.goBack();
  await expect(rows).toHaveCount(200);
  await expect(row).toBeInViewport();
  await page.reload();
  await expect(rows).toHaveCount(200);
  await expect(row).toBeInViewport();

  // A link to the list begins at its top.
  await page.getByRole("link", { name: "Home", exact: true }).click();
  await page.getByRole("link", { name: "Reservations", exact: true }).click();
  await expect(rows).toHaveCount(50);
  expect(await page.evaluate(() => scrollY)).toBe(0);
  await page.context().close();
});

test("live rows above the row that is read wait for a click", async ({ berth, pageOf, receiver }) => {
  test.setTimeout(180_000);
  const service = await receiver(responds(200));
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  const resource = await berth.resource();
  await reserveMany(berth.api, resource.id, 1, 40);
  const page = await pageOf("admin");
  await page.goto(`/deliveries?webhook=${webhook.id}`);
  const rows = deliveryRows(page);
  await expect(rows).toHaveCount(40);
  await expect(rows.filter({ hasText: "Succeeded" })).toHaveCount(40);
  // At the top of the page, new rows appear at once.
  await reserveMany(berth.api, resource.id, 41, 1);
  await expect(rows).toHaveCount(41);
  await expect(rows.filter({ hasText: "Succeeded" })).toHaveCount(41);

  const row = rows.nth(30);
  await row.evaluate((node) => node.scrollIntoView({ block: "center" }));
  const [top, id] = [await topOf(row), await row.locator(".short-id").innerText()];
  await reserveMany(berth.api, resource.id, 42, 38);
  const pill = page.getByRole("button", { name: "38 new" });
  await expect(pill).toBeVisible();
  await expect(rows).toHaveCount(41);
  expect(await topOf(rows.filter({ hasText: id }))).toBe(top);
  await pill.click();
  await expect(rows).toHaveCount(79);
  await expect(pill).toBeHidden();
  expect(await page.evaluate(() => scrollY)).toBe(0);
  await expect(rows.first().getByRole("link").first()).toBeFocused();
  await expect(rows.filter({ hasText: "Succeeded" })).toHaveCount(79);
});

test("home shows the next reservations in the order of their start", async ({ berth, browser }) => {
  const user = { username: "planner", password: "staple battery horse" };
  await berth.api.post("/users", { ...user, email: "planner@example.com", role: "user" });
  const planner = await berth.as(user.username);
  const resource = await berth.resource();
  // The next reservation was created first; 24 later ones were created after it.
  await planner.reserve(resource.id, 1, { title: "The next one" });
  for (let n = 24; n > 0; n -= 1) await planner.reserve(resource.id, 100 + 3 * n, { title: `Later ${n}` });
  const page = await logInByApi(browser, berth, user.username, {}, user.password);
  await page.goto("/");
  const rows = page.locator(".reservation-row strong");
  await expect(rows).toHaveText(["The next one", ...[1, 2, 3, 4, 5, 6, 7].map((n) => `Later ${n}`)]);
  // The list updates itself, and the ninth reservation follows a cancelled one.
  const between = await planner.reserve(resource.id, 50, { title: "In between" });
  await expect(rows.nth(1)).toHaveText("In between");
  await planner.post(`/reservations/${between.id}/cancel`);
  await expect(rows).toHaveText(["The next one", ...[1, 2, 3, 4, 5, 6, 7].map((n) => `Later ${n}`)]);
  await page.context().close();
});
