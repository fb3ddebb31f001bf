// Log-in at an identity provider that we did not write, from the button on the log-in page to the log-out there.

import type { BrowserContext, Page } from "@playwright/test";
import { ADMIN, type Berth, expect, logIn, newContext, test as base } from "../fixtures.ts";
import { IdentityProvider, agree, claimsOf, logInAtProvider } from "../support/identity-provider.ts";
import { inspect } from "../support/screens.ts";

/** A provider and a server for each worker. Each test has its own users. */
const test = base.extend<{ visitor: Page }, { provider: IdentityProvider; corp: Berth }>({
  provider: [
    async ({}, use) => {
      const provider = await IdentityProvider.start();
      await use(provider);
      await provider.stop();
    },
    { scope: "worker", timeout: 60_000 },
  ],
  corp: [
    async ({ provider }, use) => {
      const corp = await provider.berth();
      await use(corp);
      await corp.stop();
    },
    { scope: "worker", timeout: 60_000 },
  ],
  visitor: async ({ browser, corp, provider }, use, info) => {
    const context = await newContext(browser, corp);
    await use(await context.newPage());
    await context.close();
    if (info.status !== info.expectedStatus) {
      const body = `${corp.tail()}\n\nThe provider:\n${provider.tail()}`;
      await info.attach("logs", { body, contentType: "text/plain" });
    }
  },
});

const button = (page: Page) => page.getByRole("link", { name: "Log in with Example Corp" });
const hello = (page: Page, username: string) => page.getByRole("heading", { name: `Hello, ${username}` });

async function logInWithCorp(page: Page, login: string, username = login): Promise<void> {
  await page.goto("/");
  await button(page).click();
  await logInAtProvider(page, login);
  await expect(hello(page, username)).toBeVisible();
}

/** The cookies of the provider only, so that Berth has no session. */
async function forgetBerth(context: BrowserContext): Promise<void> {
  await context.clearCookies({ name: "berth_session" });
}

test("a first log-in creates an account and returns to the requested page", async ({ provider, visitor: page }) => {
  await provider.setUsers({ carol: claimsOf("Carol.Miller@corp.example", { email: "carol@corp.example" }) });
  await page.goto("/reservations?status=cancelled");
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await inspect(page, "single-sign-on-login");
  await button(page).click();
  await expect(page).toHaveURL(new RegExp(provider.issuer));
  await logInAtProvider(page, "carol");
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
  await expect(page.getByLabel("Status")).toHaveValue("cancelled");
  await expect(page.locator(".topbar .username")).toHaveText("carol.miller");
  await page.goto("/settings/account");
  await expect(page.getByLabel("E-mail")).toHaveValue("carol@corp.example");
  await expect(page.getByRole("region", { name: "Single sign-on" }).getByRole("row").nth(1)).toContainText("Example Corp");
  await expect(page.getByRole("heading", { name: "Password" })).toHaveCount(0);
  await inspect(page, "single-sign-on-account");
});

test("groups make administrators, and losing the group ends other sessions", async ({ provider, visitor: page, browser, corp }) => {
  await provider.setUsers({ dora: claimsOf("dora", { groups: ["staff", "berth-admins"] }) });
  await logInWithCorp(page, "dora");
  await page.goto("/settings/users");
  const row = page.getByRole("row").filter({ hasText: "dora@corp.example" });
  await expect(row).toContainText("Administrator");
  await expect(row).toContainText("Single sign-on");
  await inspect(page, "single-sign-on-users");
  await provider.setUsers({ dora: claimsOf("dora") });
  const context = await newContext(browser, corp);
  const other = await context.newPage();
  await logInWithCorp(other, "dora");
  await expect(other.getByRole("link", { name: "Users" })).toHaveCount(0);
  await page.reload();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  // Administrators see why they cannot change the role.
  await context.clearCookies();
  await other.goto("/login");
  await logIn(other, ADMIN);
  await expect(hello(other, "admin")).toBeVisible();
  await other.goto("/settings/users");
  await other.getByRole("button", { name: "Edit dora" }).click();
  const dialog = other.getByRole("dialog", { name: "Edit user" });
  await expect(dialog).toContainText("Groups at the identity provider corp decide on the role");
  await expect(dialog.getByRole("group", { name: "Role" })).toHaveCount(0);
  await expect(dialog.getByRole("group", { name: "Single sign-on" })).toContainText("Example Corp: dora");
  await inspect(other, "single-sign-on-edit-user");
  await context.close();
});

test("a log-out also ends the session at the provider", async ({ provider, visitor: page }) => {
  await provider.setUsers({ erin: claimsOf("erin") });
  await logInWithCorp(page, "erin");
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("button", { name: "Yes, sign me out" }).click();
  await expect(page).toHaveURL(/\/login$/);
  await button(page).click();
  await expect(page.getByPlaceholder("Enter any login"), "the provider asks again").toBeVisible();
});

test("a session at the provider is enough to log in again", async ({ provider, visitor: page }) => {
  await provider.setUsers({ finn: claimsOf("finn") });
  await logInWithCorp(page, "finn");
  await forgetBerth(page.context());
  await page.goto("/");
  await button(page).click();
  await agree(page);
  await expect(hello(page, "finn")).toBeVisible();
});

test("a log-out at the provider ends the session here", async ({ provider, visitor: page }) => {
  await provider.setUsers({ gina: claimsOf("gina") });
  await logInWithCorp(page, "gina");
  const other = await page.context().newPage();
  await other.goto(`${provider.issuer}/session/end`);
  await other.getByRole("button", { name: "Yes, sign me out" }).click();
  await expect.poll(async () => (await page.context().request.get("/api/v1/session")).status()).toBe(401);
});

test("a new key of the provider is found while both run", async ({ provider, visitor: page }) => {
  await provider.setUsers({ hugo: claimsOf("hugo") });
  await logInWithCorp(page, "hugo");
  await page.context().clearCookies();
  provider.newKey();
  await provider.run();
  await logInWithCorp(page, "hugo");
});

test("a clock that is slightly ahead is tolerated, and one that is far ahead is not", async ({ provider, visitor: page }) => {
  await provider.setUsers({ ivan: claimsOf("ivan") });
  await provider.run(40);
  await logInWithCorp(page, "ivan");
  await page.context().clearCookies();
  await provider.run(600);
  await page.goto("/");
  await button(page).click();
  await logInAtProvider(page, "ivan");
  await expect(page.getByRole("alert")).toContainText("The response of Example Corp could not be verified.");
  await page.context().clearCookies();
  await provider.run();
});

test("a cancelled log-in and a provider that is down show a page with a way back", async ({ provider, visitor: page, corp }) => {
  await provider.setUsers({});
  await page.goto("/");
  await button(page).click();
  await page.getByRole("link", { name: "[ Cancel ]" }).click();
  await expect(page.getByRole("heading", { name: "Log-in failed" })).toBeVisible();
  await expect(page.getByRole("alert")).toContainText("was cancelled");
  await inspect(page, "single-sign-on-failed");
  await page.getByRole("link", { name: "Go to the log-in page" }).click();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  // The server starts without the provider, and finds it later.
  await provider.down();
  await corp.restart();
  await page.goto("/");
  await button(page).click();
  await expect(page.getByRole("alert")).toContainText("Example Corp cannot be reached");
  await page.goto("/login");
  await logIn(page, ADMIN);
  await expect(hello(page, "admin")).toBeVisible();
  await provider.run();
  await page.context().clearCookies();
  await page.waitForTimeout(11_000);
  await page.goto("/");
  await button(page).click();
  await expect(page.getByPlaceholder("Enter any login")).toBeVisible();
});

test("the dialog over an expired page logs in in a new window and keeps the input", async ({ provider, visitor: page }) => {
  await provider.setUsers({ jane: claimsOf("jane") });
  await logInWithCorp(page, "jane");
  await page.goto("/settings/account");
  await expect(page.locator(".topbar").getByRole("status")).toHaveText("Live");
  await page.getByLabel("E-mail").fill("jane.new@corp.example");
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Save profile" }).click();
  const dialog = page.getByRole("dialog", { name: "Log in again" });
  await expect(dialog).toBeVisible();
  await inspect(page, "single-sign-on-dialog");
  const opened = page.context().waitForEvent("page");
  await dialog.getByRole("button", { name: "Log in with Example Corp" }).click();
  const window = await opened;
  await window.getByPlaceholder("Enter any login").fill("jane");
  await window.getByPlaceholder("and password").fill("any password");
  await window.getByRole("button", { name: "Sign-in" }).click();
  await window.getByRole("button", { name: "Continue" }).click();
  await expect(dialog).toBeHidden();
  await expect(page.getByText("Saved.")).toBeVisible();
  await expect(page.getByLabel("E-mail")).toHaveValue("jane.new@corp.example");
});

test("a change of a credential is confirmed by a new log-in at the provider", async ({ provider, visitor: page }) => {
  await provider.setUsers({ kate: claimsOf("kate") });
  // The user entered the password at the provider 20 minutes ago.
  await provider.run(-1_200);
  await logInWithCorp(page, "kate");
  await provider.run();
  await page.goto("/settings/account");
  await page.getByLabel("E-mail").fill("kate.new@corp.example");
  await page.getByRole("button", { name: "Save profile" }).click();
  const dialog = page.getByRole("dialog", { name: "Confirm that it is you" });
  await expect(dialog).toContainText("log in again in a new window");
  await inspect(page, "single-sign-on-confirm");
  const opened = page.context().waitForEvent("page");
  await dialog.getByRole("button", { name: "Log in with Example Corp" }).click();
  const window = await opened;
  await window.getByPlaceholder("Enter any login").fill("kate");
  await window.getByPlaceholder("and password").fill("any password");
  await window.getByRole("button", { name: "Sign-in" }).click();
  await window.getByRole("button", { name: "Continue" }).click();
  // The change continues without another click.
  await expect(dialog).toBeHidden();
  await expect(page.getByText("Saved.")).toBeVisible();
  await expect(page.getByLabel("E-mail")).toHaveValue("kate.new@corp.example");
});

test("a user links the own account on the page", async ({ provider, visitor: page, corp }) => {
  await provider.run();
  await corp.restart();
  await provider.setUsers({ "admin-at-corp": claimsOf("admin", { groups: ["berth-admins"] }) });
  await page.goto("/");
  await button(page).click();
  await logInAtProvider(page, "admin-at-corp");
  await expect(page.getByRole("alert")).toContainText("The account admin exists and is not linked to Example Corp");
  await page.getByRole("link", { name: "Go to the log-in page" }).click();
  await logIn(page, ADMIN);
  await expect(hello(page, "admin")).toBeVisible();
  await page.goto("/settings/account");
  await page.getByRole("button", { name: "Link Example Corp" }).click();
  await agree(page);
  const identities = page.getByRole("region", { name: "Single sign-on" });
  await expect(identities).toContainText("admin-at-corp");
  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  // The log-in returns to the page of the log-out.
  await button(page).click();
  await agree(page);
  await expect(page.locator(".topbar .username")).toHaveText("admin");
  await page.getByRole("button", { name: "Remove Example Corp" }).click();
  await expect(page.getByRole("button", { name: "Link Example Corp" })).toBeVisible();
});

test("log-in with a password can be limited to the break-glass administrator", async ({ provider, visitor: page, corp }) => {
  await corp.restart({ BERTH_LOCAL_LOGIN: "break-glass", BERTH_BREAK_GLASS_ADMIN: ADMIN.username });
  await provider.setUsers({ lisa: claimsOf("lisa") });
  await page.goto("/");
  await expect(button(page)).toBeVisible();
  await expect(page.getByLabel("Password")).toBeHidden();
  await inspect(page, "single-sign-on-break-glass");
  await page.getByText("Log in as break-glass administrator").click();
  await logIn(page, ADMIN);
  await expect(hello(page, "admin")).toBeVisible();
  await page.getByRole("button", { name: /Notifications/ }).click();
  await expect(page.getByText("The break-glass administrator admin has logged in with a password")).toBeVisible();
  await corp.restart({ BERTH_LOCAL_LOGIN: "off", BERTH_BREAK_GLASS_ADMIN: "" });
  await page.context().clearCookies();
  await page.goto("/");
  await expect(page.getByLabel("Password")).toBeHidden();
  await expect(page.getByText("Log in as break-glass administrator")).toBeHidden();
  await logInWithCorp(page, "lisa");
});
