// Export of a user's data, and erasure of an account.

import { readFile } from "node:fs/promises";
import { type Berth, expect, newContext, logIn, test } from "../fixtures.ts";

const PASSWORD = "first horse battery";

async function user(berth: Berth, username: string): Promise<{ username: string; password: string }> {
  await berth.api.post("/users", { username, password: PASSWORD, email: `${username}@example.com`, role: "user" });
  return { username, password: PASSWORD };
}

test("a user exports the own data and erases the account", async ({ berth, browser }) => {
  const frank = await user(berth, "frank");
  const context = await newContext(browser, berth);
  const page = await context.newPage();
  await page.goto("/settings/account");
  await logIn(page, frank);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Export data" }).click()]);
  expect(download.suggestedFilename()).toBe("berth-frank.json");
  const exported = JSON.parse(await readFile(await download.path(), "utf8"));
  expect(exported.user.email).toBe("frank@example.com");
  expect(exported.audit_log.length).toBeGreaterThan(1);

  await page.getByRole("button", { name: "Erase account…" }).click();
  const dialog = page.getByRole("dialog", { name: "Erase account" });
  await expect(dialog).toContainText("This cannot be undone.");
  await dialog.getByRole("button", { name: "Erase account" }).click();
  await expect(dialog.getByLabel("Enter frank to confirm")).toHaveAttribute("aria-invalid", "true");
  await dialog.getByLabel("Enter frank to confirm").fill("frank");
  await dialog.getByRole("button", { name: "Erase account" }).click();
  await expect(page).toHaveURL(/\/login/);
  await logIn(page, frank);
  await expect(page.getByRole("alert")).toContainText("The username or the password is wrong.");
  await context.close();
});

test("an administrator erases an account, and the audit log has the pseudonym", async ({ berth, pageOf }, info) => {
  await user(berth, "grace");
  const page = await pageOf("admin");
  await page.goto("/settings/users");
  const row = page.getByRole("row").filter({ hasText: "grace@example.com" });
  await row.getByRole("button", { name: "Edit grace" }).click();
  const edit = page.getByRole("dialog", { name: "Edit user" });
  await expect(edit.getByRole("link", { name: "Export data" })).toHaveAttribute("href", "/api/v1/users/grace/export");
  await edit.getByRole("button", { name: "Erase account…" }).click();
  const dialog = page.getByRole("dialog", { name: "Erase account" });
  await expect(dialog.getByLabel("Ignore resources that are not released")).not.toBeChecked();
  for (const scheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme: scheme });
    await info.attach(scheme, { body: await page.screenshot(), contentType: "image/png" });
  }
  await page.setViewportSize({ width: 390, height: 844 });
  await info.attach("phone", { body: await page.screenshot(), contentType: "image/png" });
  await dialog.getByLabel("Enter grace to confirm").fill("grace");
  await dialog.getByRole("button", { name: "Erase account" }).click();
  await expect(dialog).toBeHidden();
  await expect(edit).toBeHidden();
  await expect(row).toHaveCount(0);
  await page.goto("/settings/audit?action=account.erased");
  await expect(page.getByText(/erased-[0-9a-f]{16}/).first()).toBeVisible();
  await expect(page.getByText("grace")).toHaveCount(0);
});
