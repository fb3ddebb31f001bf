// Error messages of forms, and forms of reservations whose type has changed.

import type { Locator, Page } from "@playwright/test";
import { choose, expect, test } from "../fixtures.ts";
import type { Reservation } from "../support/api.ts";

/** Asserts that a field has a message, and that it disappears while the user corrects the field. */
async function expectCorrectable(field: Locator, wrong: string, right: string, save: () => Promise<void>): Promise<void> {
  await field.fill(wrong);
  await save();
  await expect(field).toHaveAttribute("aria-invalid", "true");
  await field.fill(right);
  await expect(field).toHaveAttribute("aria-invalid", "false");
}

test("messages of the webhook form disappear on correct fields and do not come back", async ({ pageOf, receiver }) => {
  const service = await receiver();
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks/new");
  await choose(page, "Authentication Method", "API Key");
  await page.getByLabel("API Key", { exact: true }).fill("");
  await page.getByRole("button", { name: "Save Webhook" }).click();
  const fields = [
    [page.getByLabel("Webhook Name"), "Cluster Manager"],
    [page.getByLabel("Endpoint URL"), service.endpoint],
    [page.getByLabel("API Key", { exact: true }), "secret key"],
  ] as const;
  for (const [field] of fields) await expect(field).toHaveAttribute("aria-invalid", "true");
  for (const [field, value] of fields) {
    await field.fill(value);
    await expect(field).toHaveAttribute("aria-invalid", "false");
  }
  // No field has a message once the last one is correct.
  await expect(page.locator('[aria-invalid="true"]')).toHaveCount(0);
  for (const [field] of fields) await expect(field).toHaveAccessibleDescription(/^(?!.*(Enter|required)).*$/);
  await page.getByRole("button", { name: "Save Webhook" }).click();
  await expect(page.getByRole("heading", { name: "Cluster Manager created" })).toBeVisible();
});

test("message of each form disappears when its field is corrected", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const admin = await pageOf("admin");
  const click = (page: Page, name: string) => () => page.getByRole("button", { name, exact: true }).click();

  await admin.goto(`/reserve?resource=${resource.id}`);
  const reserve = admin.getByRole("region", { name: "Reservation", exact: true });
  await expect(reserve.getByLabel("Start")).not.toHaveValue("");
  await expectCorrectable(reserve.getByLabel("Title"), "x".repeat(201), "Short", click(admin, "Reserve"));
  await expectCorrectable(reserve.getByLabel("Number of GPUs"), "17", "4", click(admin, "Reserve"));
  await expectCorrectable(reserve.getByLabel("SSH public key"), "hello", "", click(admin, "Reserve"));

  await admin.goto("/settings/users");
  await admin.getByRole("button", { name: "New user" }).click();
  const user = admin.getByRole("dialog");
  await expectCorrectable(user.getByLabel("Username"), "No", "carol", click(admin, "Create user"));
  await expectCorrectable(user.getByLabel("E-mail"), "carol", "carol@example.com", click(admin, "Create user"));

  await admin.goto("/settings/tokens");
  await admin.getByRole("button", { name: "New token" }).click();
  await expectCorrectable(admin.getByRole("dialog").getByLabel("Name"), "", "CI", click(admin, "Create token"));

  await admin.goto("/settings/catalogue");
  await admin.getByRole("button", { name: "New type" }).click();
  const type = admin.getByRole("dialog");
  await expectCorrectable(type.getByLabel("Slug"), "A b", "a-b", click(admin, "Save type"));

  await admin.goto("/settings/account");
  await expectCorrectable(admin.getByLabel("E-mail"), "admin", "admin@example.com", click(admin, "Save profile"));
  await admin.getByLabel("New password", { exact: true }).fill("first password");
  await expectCorrectable(admin.getByLabel("Confirm new password"), "other password", "", click(admin, "Change password"));
  await admin.getByLabel("Confirm new password").fill("second password");
  await click(admin, "Change password")();
  await expect(admin.getByLabel("Confirm new password")).toHaveAttribute("aria-invalid", "true");
  await admin.getByLabel("New password", { exact: true }).fill("second password");
  await expect(admin.getByLabel("Confirm new password")).toHaveAttribute("aria-invalid", "false");
});

test("title is edited although the type has lost an option of the reservation", async ({ berth, pageOf }) => {
  const slug = "lost-option";
  const schema = (...options: string[]) => ({
    config_schema: { properties: { board: { type: "string", enum: options }, count: { type: "integer", default: 1 } } },
  });
  await berth.api.post("/resource-types", { slug, name: "Boards", ...schema("old", "new") });
  const resource = await berth.resource({ resource_type: slug });
  const reservation = await berth.api.reserve(resource.id, 5, { additional_config: { board: "old" } });
  await berth.api.call("PATCH", `/resource-types/${slug}`, schema("new"));
  const page = await pageOf("admin");
  await page.goto(`/reservations/${reservation.id}`);
  await page.getByRole("button", { name: "Modify" }).click();
  const modify = page.getByRole("dialog", { name: "Modify reservation" });
  const save = () => modify.getByRole("button", { name: "Save changes" }).click();
  await expect(modify.getByLabel("board")).toHaveValue("old");
  await modify.getByLabel("Title").fill("Renamed");
  await save();
  await expect(modify).toBeHidden();
  const path = `/reservations/${reservation.id}`;
  expect(await berth.api.get<Reservation>(path)).toMatchObject({ title: "Renamed", additional_config: { board: "old", count: 1 } });
  // A changed configuration must be valid.
  await page.getByRole("button", { name: "Modify" }).click();
  await modify.getByLabel("count").fill("2");
  await save();
  await expect(modify.getByLabel("board")).toHaveAccessibleDescription(/Choose one of: new/);
  await modify.getByLabel("board").selectOption("new");
  await save();
  await expect(modify).toBeHidden();
  expect(await berth.api.get<Reservation>(path)).toMatchObject({ additional_config: { board: "new", count: 2 } });
});

test("users see no actions in the catalogue", async ({ berth, pageOf }) => {
  const resource = await berth.resource();
  const actions = (page: Page) => page.getByRole("main").getByRole("button", { name: /^(New|Edit|Delete)/ });
  const page = await pageOf("alice");
  await page.goto("/settings/catalogue");
  await expect(page.getByRole("cell", { name: resource.name, exact: true })).toBeVisible();
  await expect(actions(page)).toHaveCount(0);
  await expect(page.getByRole("columnheader", { name: "Actions" })).toHaveCount(0);
  const admin = await pageOf("admin");
  await admin.goto("/settings/catalogue");
  await expect(admin.getByRole("button", { name: `Delete ${resource.name}` })).toBeVisible();
  expect(await actions(admin).count()).toBeGreaterThan(3);
});
