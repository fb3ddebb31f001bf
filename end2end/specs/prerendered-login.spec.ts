// The log-in form of index.html works before the app is loaded, and the app takes it over with its input.

import type { Page } from "@playwright/test";
import { ALICE, expect, logIn, test } from "../fixtures.ts";

/** Delays the app until the returned function is called. */
async function withoutApp(page: Page): Promise<() => void> {
  let release: () => void = () => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  await page.route("**/*.wasm", async (route) => {
    await released;
    await route.continue().catch(() => {});
  });
  return release;
}

test("users can log in before the app is loaded", async ({ page }) => {
  const release = await withoutApp(page);
  await page.goto("/reservations?status=cancelled", { waitUntil: "commit" });
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await expect(page).toHaveTitle("Log in · Berth");
  await logIn(page, { ...ALICE, password: "not the password" });
  await expect(page.getByRole("alert")).toHaveText("The username or the password is wrong. Check both and try again.");
  await expect(page.getByLabel("Username")).toHaveValue(ALICE.username);
  await page.getByLabel("Password").fill(ALICE.password);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeHidden();
  await expect(page.getByRole("status")).toContainText("Loading");
  release();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
  await expect(page.getByLabel("Status")).toHaveValue("cancelled");
});

test("an app that loads during a log-in shows the requested page", async ({ page }) => {
  const release = await withoutApp(page);
  await page.goto("/login?to=/reservations", { waitUntil: "commit" });
  let answer: () => void = () => {};
  const answered = new Promise<void>((resolve) => (answer = resolve));
  await page.route("**/api/v1/session", async (route) => {
    await answered;
    await route.continue();
  });
  await logIn(page, ALICE);
  await expect(page.getByRole("button", { name: "Log in", exact: true })).toHaveAttribute("aria-busy", "true");
  const visit = page.waitForResponse("**/rpc/visit");
  release();
  await visit;
  answer();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
});

test("a log-in without the app reports an unreachable server", async ({ page, context }) => {
  await withoutApp(page);
  await page.goto("/login", { waitUntil: "commit" });
  await page.getByLabel("Username").fill(ALICE.username);
  await page.getByLabel("Password").fill(ALICE.password);
  await context.setOffline(true);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await expect(page.getByRole("alert")).toHaveText(/cannot be reached/);
});

test("the app takes the form over without changing its input", async ({ page }) => {
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
  // From here the app handles the log-in, without reloading the page.
  await page.evaluate(() => Object.assign(globalThis, { same: true }));
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await expect(page.getByRole("alert")).toHaveText("The username or the password is wrong. Check both and try again.");
  await page.getByLabel("Password").fill(ALICE.password);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
  expect(await page.evaluate(() => "same" in globalThis)).toBe(true);
  await expect(page.getByLabel("Password")).toBeHidden();
  // Navigation moves the focus to the title of the new page.
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "Reserve", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Reserve", level: 1 })).toBeFocused();
  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page.getByLabel("Password")).toHaveValue("");
  await expect(page.getByRole("alert")).toBeHidden();
});

test("the entered password can be shown, before and after the app has loaded", async ({ page, pageOf }) => {
  const release = await withoutApp(page);
  await page.goto("/", { waitUntil: "commit" });
  const password = page.getByLabel("Password");
  const show = page.getByRole("button", { name: "Show entered text" });
  await password.fill("horse");
  await show.click();
  await expect(password).toHaveAttribute("type", "text");
  await expect(show).toHaveAttribute("aria-pressed", "true");
  await show.click();
  await expect(password).toHaveAttribute("type", "password");
  release();
  await expect(password).toHaveValue("horse");

  const account = await pageOf("alice");
  await account.goto("/settings/account");
  const field = account.getByLabel("New password", { exact: true });
  await field.fill("staple");
  await account.locator(".concealed", { has: field }).getByRole("button", { name: "Show entered text" }).click();
  await expect(field).toHaveAttribute("type", "text");
  await expect(field).toHaveValue("staple");
});
