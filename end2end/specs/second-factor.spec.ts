// Second factors with the browser's virtual authenticator, the second step of a log-in, and the confirmation of changes.

import { execFile } from "node:child_process";
import { createHmac } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import type { CDPSession, Page } from "@playwright/test";
import { ADMIN, Berth, expect, logIn, newContext, test } from "../fixtures.ts";
import { inspect } from "../support/screens.ts";

/** Passkeys need a host name: browsers accept no address. */
const localhost = (berth: Berth) => berth.url.replace("127.0.0.1", "localhost");

/** The code of an authenticator app (RFC 6238) for a key in base32. */
function totp(key: string, at = Date.now()): string {
  const bits = [...key].map((c) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c).toString(2).padStart(5, "0")).join("");
  const bytes = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(at / 30_000)));
  const hash = createHmac("sha1", bytes).update(step).digest();
  const offset = (hash.at(-1) ?? 0) & 15;
  return String((hash.readUInt32BE(offset) & 0x7fff_ffff) % 1_000_000).padStart(6, "0");
}

/** Adds an authenticator with a fingerprint reader to the browser. */
async function addAuthenticator(page: Page): Promise<{ cdp: CDPSession; authenticatorId: string }> {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("WebAuthn.enable");
  const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return { cdp, authenticatorId };
}

/** Makes all sessions look as if they began 11 minutes ago. No request can do that. */
async function ageSessions(berth: Berth): Promise<void> {
  const script = [
    "import sqlite3, sys",
    "db = sqlite3.connect(sys.argv[1], timeout=10)",
    "db.execute('UPDATE sessions SET authenticated_at = COALESCE(authenticated_at, created_at) - 660000')",
    "db.commit()",
  ];
  await promisify(execFile)(process.env.BERTH_PYTHON ?? "python3", ["-c", script.join("\n"), join(berth.folder, "berth.db")]);
  // Checked credentials are cached for 3 s.
  await new Promise((resolve) => setTimeout(resolve, 3_500));
}

const user = (name: string) => ({ username: name, password: `${name} battery horse` });

/** Opens the account page of a new user at the host name. */
async function open(berth: Berth, page: Page, name: string): Promise<{ username: string; password: string }> {
  const who = user(name);
  await berth.api.post("/users", { ...who, email: `${name}@example.com`, role: "user" });
  await page.goto(`${localhost(berth)}/settings/account`);
  await logIn(page, who);
  await expect(page.getByRole("heading", { name: "Second factors" })).toBeVisible();
  return who;
}

/** Saves the recovery codes that the open dialog shows. */
async function saveCodes(page: Page): Promise<string[]> {
  const dialog = page.getByRole("dialog", { name: "Recovery codes" });
  const codes = (await dialog.getByLabel("Recovery codes", { exact: true }).innerText()).split("\n");
  expect(codes).toHaveLength(10);
  const download = page.waitForEvent("download");
  await dialog.getByRole("link", { name: "Download" }).click();
  expect((await download).suggestedFilename()).toBe("berth-recovery-codes.txt");
  await dialog.getByRole("button", { name: "Done" }).click();
  await expect(dialog).toBeHidden();
  return codes;
}

/** Adds an authenticator app. Returns its key and the recovery codes. `look` is called on each dialog, with its name. */
async function addApp(page: Page, look = async (_: string) => {}): Promise<{ key: string; codes: string[] }> {
  await page.getByRole("button", { name: "Add authenticator app" }).click();
  const dialog = page.getByRole("dialog", { name: "Add authenticator app" });
  const key = await dialog.getByLabel("Key", { exact: true }).innerText();
  await expect(dialog.getByRole("img", { name: "QR code of the key" })).toBeVisible();
  await look("app");
  await dialog.getByLabel("Code", { exact: true }).fill("000000");
  await dialog.getByRole("button", { name: "Add authenticator app" }).click();
  await expect(dialog).toContainText("This code is wrong");
  await dialog.getByLabel("Code", { exact: true }).fill(totp(key));
  await dialog.getByRole("button", { name: "Add authenticator app" }).click();
  await expect(page.getByRole("dialog", { name: "Recovery codes" })).toBeVisible();
  await look("codes");
  return { key, codes: await saveCodes(page) };
}

test("a passkey is added, is the second step, logs in alone, and is removed", async ({ berth, browser }) => {
  const context = await newContext(browser, berth);
  const page = await context.newPage();
  const { cdp, authenticatorId } = await addAuthenticator(page);
  const who = await open(berth, page, "pia");
  await page.getByRole("button", { name: "Add passkey" }).click();
  const dialog = page.getByRole("dialog", { name: "Add passkey" });
  await dialog.getByRole("button", { name: "Add passkey" }).click();
  await expect(dialog.getByLabel("Name")).toHaveAttribute("aria-invalid", "true");
  // The device keeps no passkey that Berth does not know.
  expect((await cdp.send("WebAuthn.getCredentials", { authenticatorId })).credentials).toHaveLength(0);
  await dialog.getByLabel("Name").fill("Laptop");
  await dialog.getByRole("button", { name: "Add passkey" }).click();
  await saveCodes(page);
  const table = page.getByRole("region", { name: "Second factors" });
  await expect(table.getByRole("row").filter({ hasText: "Laptop" })).toContainText("Never");
  await expect(page.getByText("Recovery codes left: 10 of 10.")).toBeVisible();
  await inspect(page, "second-factor-account");

  await page.getByRole("button", { name: "Log out" }).click();
  await logIn(page, who);
  await expect(page.getByText("Your password is correct.")).toBeVisible();
  await inspect(page, "second-factor-step");
  await page.getByRole("button", { name: "Use a passkey" }).click();
  await expect(page.getByRole("button", { name: "Log out" })).toBeVisible();

  await page.getByRole("button", { name: "Log out" }).click();
  await inspect(page, "second-factor-log-in");
  await page.getByRole("button", { name: "Log in with a passkey" }).click();
  await expect(page.getByRole("button", { name: "Log out" })).toBeVisible();
  await page.goto(`${localhost(berth)}/settings/account`);
  await page.getByRole("button", { name: "Remove Laptop" }).click();
  await expect(page.getByText("You have no second factor.")).toBeVisible();
  await context.close();
});

test("a code of an app, and a recovery code once, finish a log-in", async ({ berth, browser }) => {
  const context = await newContext(browser, berth);
  const page = await context.newPage();
  const who = await open(berth, page, "tom");
  const { key, codes } = await addApp(page, (dialog) => inspect(page, `second-factor-${dialog}`));
  await page.getByRole("button", { name: "Log out" }).click();
  await logIn(page, who);
  await page.getByLabel("Code", { exact: true }).fill("000000");
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await expect(page.getByText("This code is wrong, or was used before.")).toBeVisible();
  // The step after the one that added the app. The clocks may differ by one step.
  await page.getByLabel("Code", { exact: true }).fill(totp(key, Date.now() + 30_000));
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await expect(page.getByRole("button", { name: "Log out" })).toBeVisible();

  for (const [code, isAccepted] of [[codes[0], true], [codes[0], false], [codes[1], true]] as const) {
    await page.getByRole("button", { name: "Log out" }).click();
    await logIn(page, who);
    await page.getByRole("button", { name: "Use a recovery code" }).click();
    await page.getByLabel("Recovery code").fill(code ?? "");
    await page.getByRole("button", { name: "Log in", exact: true }).click();
    if (isAccepted) {
      await expect(page.getByRole("button", { name: "Log out" })).toBeVisible();
    } else {
      await expect(page.getByText("This recovery code is wrong, or was used before.")).toBeVisible();
      await page.getByRole("button", { name: "Start again" }).click();
      await expect(page.getByLabel("Username")).toBeVisible();
      await logIn(page, who);
      await page.getByRole("button", { name: "Use a recovery code" }).click();
      await page.getByLabel("Recovery code").fill(codes[2] ?? "");
      await page.getByRole("button", { name: "Log in", exact: true }).click();
      await expect(page.getByRole("button", { name: "Log out" })).toBeVisible();
    }
  }
  await page.goto(`${localhost(berth)}/settings/account`);
  await expect(page.getByText("Recovery codes left: 7 of 10.")).toBeVisible();
  await context.close();
});

test("the dialog over an expired page asks for the second factor", async ({ berth, browser }) => {
  const context = await newContext(browser, berth);
  const page = await context.newPage();
  const who = await open(berth, page, "ida");
  const { key } = await addApp(page);
  await page.getByLabel("E-mail").fill("ida.new@example.com");
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Save profile" }).click();
  const dialog = page.getByRole("dialog", { name: "Log in again" });
  await dialog.getByLabel("Password").fill(who.password);
  await dialog.getByRole("button", { name: "Log in", exact: true }).click();
  // A code is valid for a short time, and the pictures can take longer.
  await inspect(page, "second-factor-dialog");
  await dialog.getByLabel("Code", { exact: true }).fill(totp(key, Date.now() + 30_000));
  await dialog.getByRole("button", { name: "Log in", exact: true }).click();
  await expect(dialog).toBeHidden();
  await expect(page.getByText("Saved.")).toBeVisible();
  await context.close();
});

test("a sensitive change asks for a confirmation and then continues", async ({ berth, browser }) => {
  const context = await newContext(browser, berth);
  const page = await context.newPage();
  await page.goto("/settings/users");
  await logIn(page, ADMIN);
  await expect(page.getByRole("heading", { name: "Users", level: 1 })).toBeVisible();
  await ageSessions(berth);
  await page.getByRole("button", { name: "New user" }).click();
  const form = page.getByRole("dialog", { name: "New user" });
  await form.getByLabel("Username").fill("uma");
  await form.getByLabel("E-mail").fill("uma@example.com");
  await form.getByLabel("Password").fill("uma battery horse");
  await form.getByRole("button", { name: "Create user" }).click();
  const dialog = page.getByRole("dialog", { name: "Confirm that it is you" });
  await expect(dialog).toBeVisible();
  await inspect(page, "confirmation");
  // A closed dialog changes nothing, and the form keeps its input.
  await dialog.getByRole("button", { name: "Close" }).click();
  await expect(form.getByRole("alert")).toContainText("Confirm that it is you");
  await form.getByRole("button", { name: "Create user" }).click();
  await dialog.getByLabel("Current password").fill("wrong");
  await dialog.getByRole("button", { name: "Confirm" }).click();
  await expect(dialog).toContainText("This is not your current password.");
  await dialog.getByLabel("Current password").fill(ADMIN.password);
  await dialog.getByRole("button", { name: "Confirm" }).click();
  await expect(dialog).toBeHidden();
  await expect(form).toBeHidden();
  await expect(page.getByRole("cell", { name: "uma", exact: true })).toBeVisible();
  await context.close();
});

test("a required second factor is set up before anything else", async ({ browser }) => {
  const berth = await Berth.start({ env: { BERTH_SECOND_FACTOR_REQUIRED: "administrators" } });
  try {
    await berth.prepare();
    const context = await newContext(browser, berth);
    const page = await context.newPage();
    await addAuthenticator(page);
    await page.goto(`${localhost(berth)}/settings/users`);
    await logIn(page, ADMIN);
    await expect(page.getByRole("heading", { name: "Set up a second factor" })).toBeVisible();
    await page.getByRole("link", { name: "Webhook Integrations" }).click();
    await expect(page.getByRole("heading", { name: "Set up a second factor" })).toBeVisible();
    await inspect(page, "second-factor-required");
    await page.getByRole("button", { name: "Add passkey" }).click();
    const dialog = page.getByRole("dialog", { name: "Add passkey" });
    await dialog.getByLabel("Name").fill("Security key");
    await dialog.getByRole("button", { name: "Add passkey" }).click();
    await saveCodes(page);
    await expect(page.getByRole("heading", { name: "Webhook Integrations", level: 1 })).toBeVisible();
    await page.getByRole("link", { name: "Account" }).click();
    await page.getByRole("button", { name: "Remove Security key" }).click();
    await expect(page.getByRole("alert")).toContainText("this is the last one");
    await context.close();
  } finally {
    await berth.stop();
  }
});

test("an administrator removes the second factors of a user", async ({ berth, browser, pageOf }) => {
  const context = await newContext(browser, berth);
  const page = await context.newPage();
  const who = await open(berth, page, "leo");
  await addApp(page);
  const admin = await pageOf("admin");
  await admin.goto("/settings/users");
  await admin.getByRole("button", { name: "Edit leo" }).click();
  const dialog = admin.getByRole("dialog", { name: "Edit user" });
  await expect(dialog.getByRole("group", { name: "Second factors" })).toContainText("Authenticator app");
  await inspect(admin, "second-factor-user");
  await dialog.getByRole("button", { name: "Remove all second factors" }).click();
  await expect(dialog.getByRole("group", { name: "Second factors" })).toHaveCount(0);
  await page.getByRole("button", { name: "Log out" }).click();
  await logIn(page, who);
  await expect(page.getByRole("button", { name: "Log out" })).toBeVisible();
  await context.close();
});
