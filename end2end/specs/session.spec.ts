// A session that ends while a page is open: the page keeps its input, and the user logs in again over it.

import type { Page } from "@playwright/test";
import { ALICE, BOB, expect, logInByApi, test } from "../fixtures.ts";

const dialogOf = (page: Page) => page.getByRole("dialog", { name: "Log in again" });

async function logInAgain(page: Page, who: { username: string; password: string }): Promise<void> {
  await dialogOf(page).getByLabel("Username").fill(who.username);
  await dialogOf(page).getByLabel("Password").fill(who.password);
  await dialogOf(page).getByRole("button", { name: "Log in", exact: true }).click();
}

test("a request after the end of the session waits for the log-in", async ({ berth, browser }) => {
  const page = await logInByApi(browser, berth, "alice");
  await page.goto("/settings/account");
  await expect(page.locator(".topbar").getByRole("status")).toHaveText("Live");
  await page.getByLabel("E-mail").fill("alice.new@example.com");
  const cookies = await page.context().cookies();
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Save profile" }).click();
  await expect(dialogOf(page)).toBeVisible();
  await expect(dialogOf(page).getByLabel("Username")).toHaveValue("alice");
  await expect(page.locator(".topbar").getByRole("status")).toHaveText("Session expired");
  await logInAgain(page, { ...ALICE, password: "not the password" });
  await expect(dialogOf(page).getByRole("alert")).toContainText("is wrong");
  await logInAgain(page, ALICE);
  await expect(dialogOf(page)).toBeHidden();
  // The request is sent again without another click.
  await expect(page.getByText("Saved.")).toBeVisible();
  await expect(page.getByLabel("E-mail")).toHaveValue("alice.new@example.com");
  await expect(page.locator(".topbar").getByRole("status")).toHaveText("Live");
  expect(cookies).not.toEqual([]);
  await page.context().close();
});

test("a log-out on another page keeps the input, and a log-in on one page is enough", async ({ berth, browser }) => {
  const page = await logInByApi(browser, berth, "alice");
  const resource = await berth.resource();
  await page.goto(`/reserve?resource=${resource.id}`);
  await page.getByLabel("Title").fill("Typed before the log-out");
  const third = await page.context().newPage();
  await third.goto("/settings/account");
  await third.getByLabel("Current password").fill("typed too");
  const other = await page.context().newPage();
  await other.goto("/");
  await other.getByRole("button", { name: "Log out" }).click();
  await expect(other.getByRole("heading", { name: "Log in" })).toBeVisible();
  for (const waiting of [page, third]) await expect(dialogOf(waiting)).toBeVisible();
  await expect(page.getByLabel("Title")).toHaveValue("Typed before the log-out");
  await logInAgain(page, ALICE);
  for (const waiting of [page, third]) await expect(dialogOf(waiting)).toBeHidden();
  await expect(other.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
  await expect(page.getByLabel("Title")).toHaveValue("Typed before the log-out");
  await expect(third.getByLabel("Current password")).toHaveValue("typed too");
  await expect(page.locator(".topbar").getByRole("status")).toHaveText("Live");
  await page.context().close();
});

test("a closed dialog opens again from the header and from an error", async ({ berth, browser }) => {
  const page = await logInByApi(browser, berth, "alice");
  await page.goto("/reservations");
  await expect(page.locator(".topbar").getByRole("status")).toHaveText("Live");
  await page.context().clearCookies();
  await page.getByLabel("Status").selectOption("cancelled");
  await expect(dialogOf(page)).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(dialogOf(page)).toBeHidden();
  await expect(page.locator(".topbar").getByRole("status")).toHaveText("Session expired");
  await page.getByRole("banner").getByRole("button", { name: "Log in", exact: true }).click();
  await expect(dialogOf(page)).toBeVisible();
  await dialogOf(page).getByRole("button", { name: "Close" }).click();
  await page.getByRole("alert").getByRole("button", { name: "Log in", exact: true }).click();
  await logInAgain(page, ALICE);
  await expect(dialogOf(page)).toBeHidden();
  await expect(page.getByRole("alert")).toHaveCount(0);
  await expect(page.getByLabel("Status")).toHaveValue("cancelled");
  await page.context().close();
});

test("a log-in as another user reloads the page", async ({ berth, browser }) => {
  const page = await logInByApi(browser, berth, "alice");
  await page.goto("/settings/account");
  await page.getByLabel("E-mail").fill("of-alice@example.com");
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Save profile" }).click();
  await logInAgain(page, BOB);
  await expect(page.getByText("Logged in as bob.")).toBeVisible();
  await expect(page.getByLabel("E-mail")).toHaveValue("bob@example.com");
  await page.context().close();
});
