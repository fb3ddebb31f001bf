// Log-in, log-out, throttling, API tokens, passwords and the first set-up.

import { ADMIN, ALICE, Berth, choose, copySecret, expect, logIn, newContext, test } from "../fixtures.ts";
import { Api, type Reservation } from "../support/api.ts";

test("log-in returns to the requested page, and log-out ends the session on the server", async ({ page }) => {
  await page.goto("/settings/account");
  await expect(page).toHaveURL(/\/login\?to=%2Fsettings%2Faccount$/);
  await logIn(page, { ...ALICE, password: "wrong password" });
  await expect(page.getByRole("alert")).toContainText("The username or the password is wrong. Check both and try again.");
  await logIn(page, ALICE);
  await expect(page.getByRole("heading", { name: "Account", level: 1 })).toBeVisible();
  expect(new URL(page.url()).pathname).toBe("/settings/account");
  const cookie = (await page.context().cookies()).find(({ name }) => name === "berth_session");
  expect(cookie).toMatchObject({ name: "berth_session", httpOnly: true, sameSite: "Lax", secure: false });

  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page).toHaveURL(/\/login/);
  // The cookie of a known device is no credential, so it stays.
  expect((await page.context().cookies()).map(({ name }) => name)).toEqual(["berth_device"]);
  // The server ends the session; deleting the cookie alone would not.
  const response = await page.request.get("/api/v1/session", { headers: { cookie: `berth_session=${cookie?.value}` } });
  expect(response.status()).toBe(401);
  await page.goto("/login?to=//elsewhere.example/");
  await logIn(page, ALICE);
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
});

test("repeated failed log-ins are throttled for that user only", async ({ berth, page }) => {
  const guessed = { username: "guessed", password: "twelve grey characters" };
  await berth.api.post("/users", { ...guessed, email: "guessed@example.com", role: "user" });
  for (let n = 0; n < 10; n += 1) {
    const response = await page.request.post("/api/v1/session", { data: { ...guessed, password: `guess ${n}` } });
    expect(response.status()).toBe(401);
  }
  await page.goto("/login");
  await logIn(page, guessed);
  await expect(page.getByRole("alert")).toContainText(/Too many failed log-ins.*Try again in \d+ seconds/);
  // Other users are not throttled.
  await logIn(page, ALICE);
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
});

test("an API token is shown once, is limited to its scope, and stops working when it is revoked", async ({ berth, pageOf }) => {
  const page = await pageOf("alice");
  await page.goto("/settings/tokens");
  await page.getByRole("button", { name: "New token" }).click();
  const dialog = page.getByRole("dialog", { name: "New API token" });
  await dialog.getByRole("button", { name: "Create token" }).click();
  await expect(dialog.getByLabel("Name")).toHaveAttribute("aria-invalid", "true");
  await dialog.getByLabel("Name").fill("nightly training");
  await dialog.getByRole("button", { name: "Create token" }).click();
  const token = await copySecret(page, "Token");
  const row = page.getByRole("row").filter({ hasText: "nightly training" });
  await expect(row).toContainText("read");
  await expect(page.getByText(token)).toHaveCount(0);

  const script = new Api(berth.url, token);
  expect((await script.raw("GET", "/session")).status).toBe(200);
  expect((await script.raw("POST", "/tokens", { name: "more" })).status).toBe(403);
  expect((await script.raw("GET", "/webhooks")).status).toBe(403);
  await row.getByRole("button", { name: "Revoke nightly training" }).click();
  await page.getByRole("dialog", { name: "Revoke this token?" }).getByRole("button", { name: "Revoke token" }).click();
  await expect(row).toHaveCount(0);
  expect((await script.raw("GET", "/session")).status).toBe(401);
});

test("a new password ends every other session", async ({ berth, browser }) => {
  const carol = { username: "carol", password: "first horse battery" };
  await berth.api.post("/users", { ...carol, email: "carol@example.com", role: "user" });
  const context = await newContext(browser, berth);
  const other = await context.request.post("/api/v1/session", { data: carol });
  const cookie = String(other.headers()["set-cookie"]).split(";")[0] ?? "";
  await context.clearCookies();
  const page = await context.newPage();
  await page.goto("/settings/account");
  await logIn(page, carol);
  await page.getByLabel("Current password").fill("not my password");
  await page.getByLabel("New password", { exact: true }).fill("second horse battery");
  await page.getByLabel("Confirm new password").fill("second horse butter");
  await page.getByRole("button", { name: "Change password" }).click();
  await expect(page.getByLabel("Confirm new password")).toHaveAccessibleDescription(/do not match/);
  await page.getByLabel("Confirm new password").fill("second horse battery");
  await page.getByRole("button", { name: "Change password" }).click();
  await expect(page.getByLabel("Current password")).toHaveAttribute("aria-invalid", "true");
  await page.getByLabel("Current password").fill(carol.password);
  await page.getByRole("button", { name: "Change password" }).click();
  await expect(page.getByText("Password changed.")).toBeVisible();
  const old = await context.request.get("/api/v1/session", { headers: { cookie } });
  expect(old.status()).toBe(401);
  await page.reload();
  await expect(page.getByText("Logged in as carol.")).toBeVisible();
  await page.getByRole("button", { name: "Log out" }).click();
  // A page that is left at once would cancel the request.
  await expect(page.getByLabel("Username")).toBeVisible();
  await page.goto("/login?to=/settings/account");
  await logIn(page, carol);
  await expect(page.getByRole("alert")).toContainText("wrong");
  await logIn(page, { ...carol, password: "second horse battery" });
  await expect(page.getByText("Logged in as carol.")).toBeVisible();
  await context.close();
});

test("a user sees their sessions and signs them out", async ({ berth, browser }) => {
  const erin = { username: "erin", password: "lantern under the bridge" };
  await berth.api.post("/users", { ...erin, email: "erin@example.com", role: "user" });
  const other = await newContext(browser, berth);
  await other.request.post("/api/v1/session", { data: erin });
  const context = await newContext(browser, berth);
  const page = await context.newPage();
  await page.goto("/settings/account");
  await logIn(page, erin);
  const rows = page.getByRole("region", { name: "Sessions" }).getByRole("row");
  await expect(rows.filter({ hasText: "127.0.0.1" })).toHaveCount(2);
  await rows.filter({ hasNotText: "This session" }).getByRole("button", { name: /^Sign out/ }).click();
  await expect(rows.filter({ hasText: "127.0.0.1" })).toHaveCount(1);
  expect((await other.request.get("/api/v1/session")).status()).toBe(401);
  await page.getByRole("button", { name: "Sign out everywhere" }).click();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  expect((await context.request.get("/api/v1/session")).status()).toBe(401);
  await other.close();
  await context.close();
});

test("an administrator creates and disables an account", async ({ berth, pageOf, page }) => {
  const admin = await pageOf("admin");
  await admin.goto("/settings/users");
  await admin.getByRole("button", { name: "New user" }).click();
  const make = admin.getByRole("dialog", { name: "New user" });
  await make.getByLabel("Username").fill("Dave Smith");
  await make.getByLabel("E-mail").fill("dave");
  await make.getByLabel("Password").fill("short");
  await make.getByRole("button", { name: "Create user" }).click();
  await expect(make.getByLabel("Username")).toHaveAccessibleDescription(/lower-case letters/);
  await expect(make.getByLabel("E-mail")).toHaveAccessibleDescription(/Enter an e-mail address/);
  await expect(make.getByLabel("Password")).toHaveAccessibleDescription(/at least 12 characters/i);
  const dave = { username: "dave", password: "long enough for harbour" };
  await make.getByLabel("Username").fill(dave.username);
  await make.getByLabel("E-mail").fill("dave@example.com");
  await make.getByLabel("Password").fill(dave.password);
  await make.getByRole("button", { name: "Create user" }).click();
  const row = admin.getByRole("row").filter({ hasText: "dave@example.com" });
  await expect(row).toBeVisible();
  await page.goto("/login");
  await logIn(page, dave);
  await expect(page.getByRole("heading", { name: "Hello, dave" })).toBeVisible();

  const created = await page.request.post("/api/v1/tokens", { data: { name: "test" }, headers: { origin: berth.url } });
  const { token } = (await created.json()) as { token: string };
  const resource = await berth.resource();
  const reservation = await new Api(berth.url, token).reserve(resource.id, 300);

  await row.getByRole("button", { name: "Edit dave" }).click();
  const change = admin.getByRole("dialog", { name: "Edit user" });
  await expect(change.getByRole("group", { name: "Active reservations" })).toBeHidden();
  await change.getByRole("checkbox", { name: "Disabled" }).check();
  await change.getByRole("button", { name: "Save user" }).click();
  await expect(change.getByRole("alert")).toContainText("Choose what happens to this user's reservations.");
  await choose(admin, "Active reservations", "Cancel");
  await change.getByRole("button", { name: "Save user" }).click();
  await expect(row).toContainText("Disabled");
  expect((await berth.api.get<Reservation>(`/reservations/${reservation.id}`)).status).toBe("cancelled");
  await page.reload();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  expect((await berth.api.raw("PATCH", `/users/${ADMIN.username}`, { disabled: true })).status).toBe(409);
});

test("the first visit creates the administrator, only once", async ({ browser }) => {
  const berth = await Berth.start({ administrator: false });
  const context = await newContext(browser, berth);
  try {
    const page = await context.newPage();
    await page.goto("/");
    await expect(page.getByRole("heading", { name: "Set up Berth" })).toBeVisible();
    const form = page.locator("#app");
    await page.getByRole("button", { name: "Create administrator" }).click();
    await expect(form.getByLabel("Username")).toHaveAttribute("aria-invalid", "true");
    await form.getByLabel("Username").fill("root");
    await form.getByLabel("E-mail").fill("root@example.com");
    await form.getByLabel("Password").fill("correct horse battery");
    await page.getByRole("button", { name: "Create administrator" }).click();
    await expect(page.getByRole("heading", { name: "Webhook Integrations" })).toBeVisible();
    await page.goto("/setup");
    await expect(page).not.toHaveURL(/\/setup/);
    const again = { username: "second", email: "second@example.com", password: "correct horse battery" };
    expect((await context.request.post("/api/v1/setup", { data: again })).status()).toBe(409);
  } finally {
    await context.close();
    await berth.stop();
  }
});
