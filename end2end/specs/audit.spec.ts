// Settings → Audit log: filters in the address, differences, links from objects.

import { expect, test } from "../fixtures.ts";

test("an administrator finds a change with its values before and after", async ({ berth, pageOf }) => {
  const receiver = "https://gpu.example.com/api";
  const webhook = await berth.api.webhook({ name: "Audited", endpoint_url: receiver, headers: [{ name: "X-Secret", value: "do-not-show" }] });
  await berth.api.call("PATCH", `/webhooks/${webhook.id}`, { name: "Renamed", headers: [{ name: "X-Secret", value: "also-hidden" }] });
  const page = await pageOf("admin");
  await page.goto("/");
  await page.getByRole("link", { name: "Audit log" }).click();
  await expect(page.getByRole("heading", { name: "Audit log", level: 1 })).toBeFocused();
  await page.getByLabel("Action").selectOption("webhook.updated");
  await expect(page).toHaveURL(/action=webhook\.updated/);
  const row = page.getByRole("row").filter({ hasText: "Renamed" });
  await expect(row.locator("del").first()).toHaveText("Audited");
  await expect(row.locator("ins").first()).toHaveText("Renamed");
  await expect(row).toContainText("changed (secret)");
  await expect(page.getByText(/do-not-show|also-hidden/)).toHaveCount(0);
  // The filter survives a reload, and the export has it.
  await page.reload();
  await expect(row).toBeVisible();
  await expect(page.getByRole("row").filter({ hasText: "session.started" })).toHaveCount(0);
  const href = await page.getByRole("link", { name: "Export" }).getAttribute("href");
  expect(href).toBe("/api/v1/audit/export?action=webhook.updated");
  const lines = (await (await page.request.get(href ?? "")).text()).trim().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { action: string }).action)).toContain("webhook.updated");
  // The object leads to its page, and its page to its changes.
  await row.getByRole("link", { name: "Renamed" }).click();
  await page.getByRole("link", { name: "Changes", exact: true }).click();
  await expect(page.getByRole("row").filter({ hasText: "webhook.created" })).toBeVisible();
  await expect(page.getByRole("columnheader", { name: "Object" })).toHaveCount(0);
  await page.getByRole("switch").click();
  await expect(page.getByRole("row").filter({ hasText: "webhook.paused" })).toBeVisible();
});

test("links of users and resources show their changes, and filters can be cleared", async ({ berth, pageOf }) => {
  const resource = await berth.resource({ name: "Audited node" });
  const page = await pageOf("admin");
  await page.goto("/settings/catalogue");
  await page.getByRole("link", { name: "Changes of Audited node" }).click();
  await expect(page.getByLabel("Object ID")).toHaveValue(String(resource.id));
  await expect(page.getByRole("row").filter({ hasText: "resource.created" })).toHaveCount(1);
  await page.goto("/settings/users");
  await page.getByRole("link", { name: "Changes of alice" }).click();
  await expect(page.getByRole("row").filter({ hasText: "user.created" })).toHaveCount(1);
  await page.getByLabel("User", { exact: true }).fill("nobody");
  await expect(page.getByText("No matching entries")).toBeVisible();
  await page.getByRole("button", { name: "Clear filters" }).click();
  await expect(page).toHaveURL(/\/settings\/audit$/);
  await expect(page.getByRole("row").filter({ hasText: "resource.created" }).first()).toBeVisible();
});

test("other users do not get to the audit log", async ({ pageOf }) => {
  const page = await pageOf("alice");
  await page.goto("/");
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
  await expect(page.getByRole("link", { name: "Audit log" })).toHaveCount(0);
  await page.goto("/settings/audit");
  await expect(page.getByText("Only administrators and auditors may do this.")).toBeVisible();
});
