// The log-in stands in the page itself: it works before the app is there, and the app takes it over as it is.

import type { Page } from "@playwright/test";
import { ALICE, expect, logIn, test, watch } from "../fixtures.ts";

/** Keeps the app back until the returned function is called. */
async function withoutApp(page: Page): Promise<() => void> {
  let release: () => void = () => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  await page.route("**/*.wasm", async (route) => {
    await released;
    await route.continue().catch(() => {});
  });
  return release;
}

test("people can log in before the app is there", async ({ page }) => {
  const check = watch(page);
  const release = await withoutApp(page);
  await page.goto("/reservations?status=cancelled", { waitUntil: "commit" });
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await expect(page).toHaveTitle("Log in · Berth");
  await logIn(page, { ...ALICE, password: "not the password" });
  await expect(page.getByRole("alert")).toHaveText("The username or the password is wrong. Check both and try again.");
  await expect(page.getByLabel("Username")).toHaveValue(ALICE.username);
  await page.getByLabel("Password").fill(ALICE.password);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeHidden();
  await expect(page.getByRole("status")).toContainText("Loading");
  release();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
  await expect(page.getByLabel("Status")).toHaveValue("cancelled");
  check();
});

test("an app that comes while somebody logs in without it lets them in too", async ({ page }) => {
  const release = await withoutApp(page);
  await page.goto("/login?to=/reservations", { waitUntil: "commit" });
  let answer: () => void = () => {};
  const answered = new Promise<void>((resolve) => (answer = resolve));
  await page.route("**/api/v1/session", async (route) => {
    await answered;
    await route.continue();
  });
  await logIn(page, ALICE);
  await expect(page.getByRole("button", { name: "Log in" })).toHaveAttribute("aria-busy", "true");
  const visit = page.waitForResponse("**/rpc/visit");
  release();
  await visit;
  answer();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
});

test("a log-in without the app says when Berth cannot be reached", async ({ page, context }) => {
  await withoutApp(page);
  await page.goto("/login", { waitUntil: "commit" });
  await page.getByLabel("Username").fill(ALICE.username);
  await page.getByLabel("Password").fill(ALICE.password);
  await context.setOffline(true);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("alert")).toHaveText(/cannot be reached/);
});

test("the app takes the log-in over without touching what is typed", async ({ page }) => {
  const check = watch(page);
  const release = await withoutApp(page);
  await page.goto("/login?to=/reservations", { waitUntil: "commit" });
  await page.getByLabel("Username").fill(ALICE.username);
  await page.getByLabel("Password").pressSequentially("half of ");
  const visit = page.waitForResponse("**/rpc/visit");
  release();
  await visit;
  await expect(page.locator("#app .skeleton")).toHaveCount(0);
  await expect(page.getByLabel("Password")).toBeFocused();
  await expect(page.getByLabel("Username")).toHaveValue(ALICE.username);
  await expect(page.getByLabel("Password")).toHaveValue("half of ");
  // From here on it is the app that logs in: the page is not loaded anew.
  await page.evaluate(() => Object.assign(globalThis, { same: true }));
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByRole("alert")).toHaveText("The username or the password is wrong. Check both and try again.");
  await page.getByLabel("Password").fill(ALICE.password);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
  expect(await page.evaluate(() => "same" in globalThis)).toBe(true);
  await expect(page.getByLabel("Password")).toBeHidden();
  // A new page starts with its own title.
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Reserve", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Reserve", level: 1 })).toBeFocused();
  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page.getByLabel("Password")).toHaveValue("");
  await expect(page.getByRole("alert")).toBeHidden();
  check();
});
