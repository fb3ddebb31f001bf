// The lists of users, webhooks and resources: search, sort, filter, selection, and 50,000 rows of which a few are rendered.

import type { Locator, Page } from "@playwright/test";
import { ADMIN, expect, logInByApi, setVisibility, test, withBerth } from "../fixtures.ts";
import { inspect } from "../support/screens.ts";

const MANY = 50_000;
/** The largest number of rendered rows of a long list, with the head and the rows that stand for the others. */
const MAX_RENDERED = 260;

const rowsOf = (page: Page, list: string): Locator => page.getByRole("region", { name: list, exact: true }).locator("tbody").getByRole("row");

/** Scrolls to the end of the page until its height stays. */
async function scrollToEnd(page: Page): Promise<void> {
  await page.evaluate(async () => {
    for (let n = 0; n < 5; n += 1) {
      scrollTo(0, document.documentElement.scrollHeight);
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  });
}

/** The time that the page needs to show a locator after an action, in milliseconds. */
async function timed(action: () => Promise<unknown>, shown: Locator): Promise<number> {
  const start = Date.now();
  await action();
  await expect(shown).toBeVisible();
  return Date.now() - start;
}

test("50,000 users: search, sort, scroll to the end, Back", async ({ browser }) => {
  test.setTimeout(240_000);
  await withBerth(async (berth) => {
    await berth.copyRows("users", MANY, {
      username: "'user-' || n",
      email: "'user-' || n || '@example.com'",
      role: "'user'",
      created_at: "created_at - n * 60000",
    });
    const page = await logInByApi(browser, berth, ADMIN.username);
    const rows = rowsOf(page, "Users");
    const row = (name: string) => rows.filter({ has: page.getByRole("cell", { name, exact: true }) });
    const loaded = await timed(() => page.goto("/settings/users"), row("admin"));
    await expect(page.getByRole("status").filter({ hasText: "50,003 users" })).toBeVisible();
    expect(await rows.count()).toBeLessThan(MAX_RENDERED);

    const search = page.getByRole("searchbox", { name: "Search users" });
    const searched = await timed(() => search.fill("USER-49999@"), row("user-49999"));
    await expect(rows).toHaveCount(1);
    await expect(page.getByText("1 of 50,003 users")).toBeVisible();
    await expect(page).toHaveURL(/q=USER-49999%40/);
    await page.reload();
    await expect(search).toHaveValue("USER-49999@");
    await expect(rows).toHaveCount(1);
    await search.fill("nobody has this name");
    await expect(page.getByText("No user matches.")).toBeVisible();
    await page.getByRole("button", { name: "Show all" }).click();
    await expect(row("admin")).toBeVisible();

    const head = page.getByRole("columnheader", { name: "Username" });
    await expect(head).toHaveAttribute("aria-sort", "none");
    await head.getByRole("button").click();
    await expect(head).toHaveAttribute("aria-sort", "ascending");
    const sorted = await timed(() => head.getByRole("button").click(), row("user-50000"));
    await expect(head).toHaveAttribute("aria-sort", "descending");
    await expect(page).toHaveURL(/sort=-username/);
    await expect(rows.first()).toContainText("user-50000");

    await scrollToEnd(page);
    await expect(row("admin")).toBeInViewport();
    expect(await rows.count()).toBeLessThan(MAX_RENDERED);
    // A position in the middle, and a link that leaves the screen.
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight / 2));
    const middle = rows.filter({ hasText: /user-2\d{4}/ });
    await expect(middle.nth(50)).toBeAttached();
    const shown = await middle.evaluateAll((all) => {
      const visible = all.find((row) => row.getBoundingClientRect().top > innerHeight / 3);
      return visible?.querySelector("td[data-label=Username]")?.textContent ?? "";
    });
    const top = await row(shown).evaluate((node) => Math.round(node.getBoundingClientRect().top));
    await row(shown).getByRole("link", { name: `Changes of ${shown}` }).click();
    await expect(page.getByRole("heading", { name: "Audit log", level: 1 })).toBeVisible();
    const back = await timed(() => page.goBack(), row(shown));
    await expect(row(shown)).toBeInViewport();
    await expect.poll(async () => Math.abs((await row(shown).evaluate((node) => Math.round(node.getBoundingClientRect().top))) - top)).toBeLessThan(4);
    const size = await page.evaluate(() => {
      const entries = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
      const list = entries.find((entry) => entry.name.endsWith("/rpc/list-users"));
      return `${list?.decodedBodySize} bytes, ${list?.encodedBodySize} compressed`;
    });
    console.info(`50,000 users: ${size}, loaded in ${loaded} ms, searched in ${searched} ms, sorted in ${sorted} ms, back in ${back} ms`);
    await page.evaluate(() => scrollTo(0, 0));
    await page.getByRole("checkbox", { name: "Select all" }).check();
    await expect(page.getByText("50,003 selected")).toBeVisible();
    await page.getByRole("button", { name: "Clear selection" }).click();
    await page.context().close();
  });
});

test("50,000 webhooks: the list is loaded once, and a change reads one webhook", async ({ browser }) => {
  test.setTimeout(240_000);
  await withBerth(async (berth) => {
    await berth.api.webhook({ name: "First", endpoint_url: "http://127.0.0.1:9/api/webhook" });
    await berth.copyRows("webhooks", MANY, { name: "'Service ' || n", state: "CASE WHEN n % 5 = 0 THEN 'paused' ELSE state END" });
    const page = await logInByApi(browser, berth, ADMIN.username);
    const rows = rowsOf(page, "Webhooks");
    const row = (name: string) => rows.filter({ has: page.getByRole("link", { name, exact: true }) });
    const start = Date.now();
    await page.goto("/settings/webhooks");
    await expect(row("First")).toBeVisible({ timeout: 120_000 });
    const [encoded, decoded] = await page.evaluate(() => {
      const entries = performance.getEntriesByType("resource") as PerformanceResourceTiming[];
      const list = entries.find((entry) => entry.name.endsWith("/rpc/list-webhooks"));
      return [list?.encodedBodySize, list?.decodedBodySize];
    });
    console.info(`50,000 webhooks: ${decoded} bytes, ${encoded} compressed, shown after ${Date.now() - start} ms`);
    expect(await rows.count()).toBeLessThan(MAX_RENDERED);
    await page.getByLabel("Status").selectOption("paused");
    await expect(page.getByText("10,000 of 50,001 webhooks")).toBeVisible();
    await page.getByRole("searchbox", { name: "Search webhooks" }).fill("service 49995");
    await expect(rows).toHaveCount(1);

    let lists = 0;
    page.on("request", (request) => (lists += Number(request.url().endsWith("/rpc/list-webhooks"))));
    await page.getByRole("switch", { name: "Enable Service 49995" }).click();
    await expect(page.getByText("Resumed Service 49995.")).toBeVisible();
    // The focus keeps the toast from disappearing, however long the list takes.
    await page.getByRole("button", { name: "Undo" }).focus();
    await expect(rows).toHaveCount(0);
    await page.getByRole("button", { name: "Undo" }).click();
    await expect(page.getByText("Paused Service 49995.")).toBeVisible();
    await expect(rows).toHaveCount(1);
    expect(lists).toBe(0);
    await page.context().close();
  });
});

test("500 resources: selection, maintenance and undo", async ({ browser }) => {
  test.setTimeout(240_000);
  await withBerth(async (berth) => {
    await berth.resource({ name: "Node 0", location: "Rack 1" });
    await berth.copyRows("resources", 500, { name: "'Node ' || n", location: "'Rack ' || (n % 7)" });
    const page = await logInByApi(browser, berth, ADMIN.username);
    await page.goto("/settings/catalogue");
    const rows = rowsOf(page, "Resources");
    await expect(page.getByText("501 resources")).toBeVisible();
    expect(await rows.count()).toBeLessThan(MAX_RENDERED);
    await page.getByRole("region", { name: "Resources", exact: true }).getByRole("button", { name: "Resource", exact: true }).click();
    // Numbers are compared by their value.
    await expect(rows.nth(2)).toContainText("Node 2");
    // 501 cards would be a picture of 100,000 pixels.
    await inspect(page, "list-resources-500", { fullPage: false });

    await page.getByRole("searchbox", { name: "Search resources" }).fill("node 10");
    await expect(page.getByText("15 of 501 resources")).toBeVisible();
    await page.getByRole("checkbox", { name: "Select Node 10", exact: true }).focus();
    await page.keyboard.press("Space");
    // With Shift, the rows up to the last one.
    await page.getByRole("checkbox", { name: "Select Node 104", exact: true }).click({ modifiers: ["Shift"] });
    await expect(page.getByText("6 selected")).toBeVisible();
    await inspect(page, "list-selection");
    await page.getByRole("button", { name: "Set 6 resources to maintenance" }).click();
    const toast = page.getByRole("status").filter({ hasText: "Set 6 resources to maintenance." });
    await expect(toast).toBeVisible();
    // The focus keeps the toast from disappearing, however long the rest takes.
    await toast.getByRole("button", { name: "Undo" }).focus();
    await expect(rows.filter({ hasText: "Maintenance" })).toHaveCount(6);
    await inspect(page, "toast");
    await toast.getByRole("button", { name: "Undo" }).click();
    await expect(page.getByText("Restored 6 resources.")).toBeVisible();
    await expect(rows.filter({ hasText: "Maintenance" })).toHaveCount(0);
    await page.context().close();
  });
});

test("a toast stays while the pointer or the focus is in it, and Escape closes it", async ({ berth, pageOf }) => {
  await berth.api.webhook({ name: "Held", endpoint_url: "http://127.0.0.1:9/api/webhook" });
  const page = await pageOf("admin");
  await page.clock.install();
  await page.goto("/settings/webhooks");
  const toast = page.getByText("Paused Held.");
  await page.getByRole("switch", { name: "Enable Held" }).click();
  await expect(toast).toBeVisible();
  await page.getByRole("button", { name: "Undo" }).focus();
  await page.clock.fastForward(60_000);
  await expect(toast).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(toast).toBeHidden();
  await page.getByRole("switch", { name: "Enable Held" }).click();
  await expect(page.getByText("Resumed Held.")).toBeVisible();
  await page.clock.fastForward(20_000);
  await expect(page.getByText("Resumed Held.")).toBeHidden();
});

test("a toast stays while the page is hidden", async ({ berth, pageOf }) => {
  await berth.api.webhook({ name: "Hidden", endpoint_url: "http://127.0.0.1:9/api/webhook" });
  const page = await pageOf("admin");
  await page.clock.install();
  await page.goto("/settings/webhooks");
  const toast = page.getByText("Paused Hidden.");
  await page.getByRole("switch", { name: "Enable Hidden" }).click();
  await expect(toast).toBeVisible();
  await setVisibility(page, "hidden");
  await page.clock.fastForward(60_000);
  await setVisibility(page, "visible");
  await expect(toast).toBeVisible();
  await page.clock.fastForward(20_000);
  await expect(toast).toBeHidden();
});

test("disabling several users asks for their reservations, and can be undone", async ({ berth, pageOf }) => {
  for (const username of ["leaving.one", "leaving.two"]) {
    await berth.api.post("/users", { username, email: `${username}@example.com`, role: "user", password: "staple battery horse" });
  }
  const page = await pageOf("admin");
  await page.goto("/settings/users?q=leaving");
  await page.getByRole("checkbox", { name: "Select all" }).check();
  await page.getByRole("button", { name: "Disable 2 users" }).click();
  const dialog = page.getByRole("dialog", { name: "Disable 2 users?" });
  await dialog.getByRole("button", { name: "Disable" }).click();
  await expect(dialog.getByText("Choose what happens to the active reservations.")).toBeVisible();
  await dialog.getByRole("radio", { name: /^Keep/ }).check();
  await dialog.getByRole("button", { name: "Disable" }).click();
  await expect(page.getByText("Disabled 2 users.")).toBeVisible();
  await expect(rowsOf(page, "Users").filter({ hasText: "Disabled" })).toHaveCount(2);
  await page.getByRole("button", { name: "Undo" }).click();
  await expect(page.getByText("Enabled 2 users.")).toBeVisible();
  await expect(rowsOf(page, "Users").filter({ hasText: "Disabled" })).toHaveCount(0);
});
