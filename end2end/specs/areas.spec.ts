// The page loads the code of an area when somebody first opens one of its screens, or in the background.

import type { Page } from "@playwright/test";
import { expect, logInByApi, test } from "../fixtures.ts";

/** The modules of areas; not those that the first screen needs. */
const MODULES = /\/areas?_[^/]*\.(wasm|bin)$/;
/** The paths of all modules, from the loader of the areas. */
async function modulesOf(page: Page): Promise<string[]> {
  const loader = (await page.content()).match(/\/areas-[^"]*\.js/)?.[0] ?? "";
  const script = await (await page.request.get(loader)).text();
  return [...new Set(script.match(/\/areas?_[^"]*-[^"]*\.(?:wasm|bin)/g))];
}

/** Whether an area needs a module. The name of the module contains one area, or a bit for each of several in alphabetical order. */
function isNeeded(module: string, area: string, modules: string[]): boolean {
  const shared = module.match(/areas_(.*)-/)?.[1];
  if (shared === undefined) return module.includes(`/area_${area}-`);
  const areas = modules.flatMap((path) => path.match(/area_(.*)-/)?.[1] ?? []).sort();
  return ((Number.parseInt(shared, 16) >>> areas.indexOf(area)) & 1) === 1;
}

// A development build has one module (`cargo xtask build --release` splits it; BERTH_BINARY=target/release/berth tests it).
test.beforeEach(async ({ request }) => {
  const index = await (await request.get("/")).text();
  test.skip(!index.includes("/areas-"), "the page is not split");
});

/** Opens the first screen while modules of areas cannot be loaded, then a screen of an area. */
async function openWithoutArea(page: Page, fail: Parameters<Page["route"]>[1]): Promise<void> {
  await page.route(MODULES, fail);
  await page.goto("/");
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
  await page.getByRole("link", { name: "Reservations", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Page not loaded" })).toBeFocused();
  await expect(page.getByRole("alert")).toContainText("Check your connection, then reload.");
}

test("first screen does not load areas, and a screen loads the area that it belongs to", async ({ pageOf }) => {
  const page = await pageOf("alice");
  const loaded: string[] = [];
  page.on("response", (response) => {
    if (MODULES.test(response.url())) loaded.push(response.url());
  });
  // Suspends the background, whose requests have a low priority.
  await page.addInitScript(() => {
    const original = window.fetch;
    window.fetch = (input, init) => (init?.priority === "low" ? new Promise(() => {}) : original(input, init));
  });
  await page.goto("/");
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
  expect(loaded).toEqual([]);
  await page.getByRole("link", { name: "Reservations", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeFocused();
  expect(loaded).not.toEqual([]);
  const modules = await modulesOf(page);
  expect(loaded.filter((url) => !isNeeded(url, "reservations", modules))).toEqual([]);
});

test("modules of areas are cached in the background, and their screens open without a connection", async ({ pageOf }) => {
  const page = await pageOf("alice");
  const cached = new Set<string>();
  page.on("requestfinished", (request) => {
    if (MODULES.test(request.url())) cached.add(new URL(request.url()).pathname);
  });
  await page.goto("/");
  const modules = await modulesOf(page);
  expect(modules).not.toEqual([]);
  await expect.poll(() => cached.size, { timeout: 60_000 }).toBe(modules.length);
  await page.context().setOffline(true);
  await page.getByRole("link", { name: "Account", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Account", level: 1 })).toBeVisible();
});

test("area that cannot be loaded shows an error, and loads when it is opened again", async ({ browser, berth }) => {
  const page = await logInByApi(browser, berth, "alice");
  await openWithoutArea(page, (route) => route.abort("internetdisconnected"));
  await page.getByRole("link", { name: "Home", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
  await page.unroute(MODULES);
  await page.getByRole("link", { name: "Reservations", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
  await page.context().close();
});

test("area that a new release replaced shows an error, and reloading opens it", async ({ browser, berth }) => {
  const page = await logInByApi(browser, berth, "alice");
  await openWithoutArea(page, (route) => route.fulfill({ status: 404, contentType: "text/plain", body: "File not found.\n" }));
  await page.unroute(MODULES);
  await page.getByRole("button", { name: "Reload page" }).click();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
  await page.context().close();
});

test("screen of an area opens by its address", async ({ pageOf }) => {
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks/new");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Add New Webhook");
});
