// Notifications by cause, the overview of keyboard shortcuts, and the guard of unsaved input.

import { expect, test } from "../fixtures.ts";
import { inspect } from "../support/screens.ts";

test("notifications of one cause are one entry, which is marked as read", async ({ berth, pageOf }) => {
  const owner = await berth.as("bob");
  for (const name of ["Restricted 1", "Restricted 2", "Restricted 3"]) {
    const resource = await berth.resource({ name, status: "restricted" });
    await owner.post("/access-requests", { resource_id: resource.id, reason: "Tests" });
  }
  const page = await pageOf("admin");
  await page.goto("/");
  const bell = page.getByRole("button", { name: /^Notifications/ });
  await bell.click();
  const popover = page.getByRole("dialog", { name: "Notifications" });
  const entry = popover.getByRole("listitem").filter({ hasText: "Restricted" });
  await expect(entry).toHaveCount(1);
  await expect(entry).toContainText(/3 times, last .*, first /);
  await inspect(page, "notifications-grouped");
  if (!(await popover.isVisible())) await bell.click();
  await entry.getByRole("button", { name: /^Mark as read/ }).click();
  await expect(entry.getByRole("button")).toHaveCount(0);
  await page.reload();
  await bell.focus();
  await page.keyboard.press("Enter");
  await expect(entry).toHaveCount(1);
  await expect(entry.getByRole("button")).toHaveCount(0);
  await page.keyboard.press("Escape");
  await expect(popover).toBeHidden();
  await expect(bell).toBeFocused();
  await bell.click();
  await entry.getByRole("link").click();
  await expect(page).toHaveURL(/\/access-requests/);
  await expect(popover).toBeHidden();
});

test("? lists the shortcuts of every screen and of this one", async ({ pageOf }) => {
  const page = await pageOf("admin");
  await page.goto("/settings/users");
  await expect(page.getByRole("searchbox", { name: "Search users" })).toBeVisible();
  await page.keyboard.press("?");
  const overview = page.getByRole("dialog", { name: "Keyboard shortcuts" });
  await expect(overview).toContainText("Undo the last change");
  await expect(overview.getByRole("heading", { name: "On this screen" })).toHaveCount(0);
  await page.keyboard.press("Escape");
  await page.keyboard.press("/");
  await expect(page.getByRole("searchbox", { name: "Search users" })).toBeFocused();
  await page.goto("/deliveries");
  await page.getByRole("button", { name: "Keyboard shortcuts" }).click();
  await expect(overview.getByRole("heading", { name: "On this screen" })).toBeVisible();
  await expect(overview).toContainText("Next delivery");
  await inspect(page, "shortcuts");
});

test("u undoes the last change", async ({ berth, pageOf }) => {
  await berth.api.webhook({ name: "Undone", endpoint_url: "http://127.0.0.1:9/api/webhook" });
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks");
  const enabled = page.getByRole("switch", { name: "Enable Undone" });
  await enabled.click();
  await expect(page.getByText("Paused Undone.")).toBeVisible();
  await page.keyboard.press("u");
  await expect(page.getByText("Resumed Undone.")).toBeVisible();
  await expect(enabled).toBeChecked();
});

test("unsaved input is not lost by a link, Back, Escape or a reload", async ({ pageOf }) => {
  const page = await pageOf("admin");
  await page.goto("/reservations");
  await page.getByRole("link", { name: "Account", exact: true }).click();
  const email = page.getByLabel("E-mail");
  const question = page.getByRole("dialog", { name: "Discard unsaved changes?" });
  await email.fill("new@example.com");
  await page.getByRole("link", { name: "Reservations", exact: true }).click();
  await expect(question).toBeVisible();
  await inspect(page, "unsaved");
  await question.getByRole("button", { name: "Keep editing" }).click();
  await expect(email).toHaveValue("new@example.com");
  await page.evaluate(() => history.back());
  await question.getByRole("button", { name: "Keep editing" }).click();
  await expect(page).toHaveURL(/\/settings\/account$/);
  await expect(email).toHaveValue("new@example.com");
  const asked = page.waitForEvent("dialog");
  await Promise.all([asked.then((dialog) => dialog.dismiss()), page.evaluate(() => location.reload())]);
  await expect(email).toHaveValue("new@example.com");
  await page.getByRole("link", { name: "Reservations", exact: true }).click();
  await question.getByRole("button", { name: "Discard changes" }).click();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();

  // A dialog: Escape and the button in the corner ask, Cancel does not.
  await page.goto("/settings/catalogue");
  const form = page.getByRole("dialog", { name: "New type" }).or(page.getByRole("dialog", { name: "New resource type" }));
  await page.getByRole("button", { name: "New type" }).click();
  await form.getByLabel("Name").fill("Unsaved type");
  await page.keyboard.press("Escape");
  await question.getByRole("button", { name: "Keep editing" }).click();
  await expect(form.getByLabel("Name")).toHaveValue("Unsaved type");
  await form.getByRole("button", { name: "Close" }).click();
  await question.getByRole("button", { name: "Discard changes" }).click();
  await expect(form).toBeHidden();
  await page.getByRole("button", { name: "New type" }).click();
  await form.getByLabel("Name").fill("Unsaved type");
  await form.getByRole("button", { name: "Cancel" }).click();
  await expect(form).toBeHidden();
  await expect(question).toBeHidden();
});

test("saved input needs no question", async ({ pageOf }) => {
  const page = await pageOf("admin");
  await page.goto("/settings/account");
  await page.getByLabel("E-mail").fill("admin@example.com");
  const saved = page.waitForResponse("**/rpc/**");
  await page.getByRole("button", { name: "Save profile" }).click();
  await saved;
  await page.getByRole("link", { name: "Reservations", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
});
