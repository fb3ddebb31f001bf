// The command palette: pages, webhooks and ids by keyboard.

import { expect, test } from "../fixtures.ts";
import { inspect } from "../support/screens.ts";

test("the palette opens pages, webhooks and ids by keyboard", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ name: "Palette Cluster", endpoint_url: service.endpoint });
  const reservation = await berth.api.reserve((await berth.resource()).id, 1);
  const page = await pageOf("admin");
  await page.goto("/");
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await page.keyboard.press("Control+k");
  const palette = page.getByRole("dialog", { name: "Commands" });
  const input = palette.getByRole("combobox");
  await expect(input).toBeFocused();
  await inspect(page, "palette");
  await input.fill("audit");
  await expect(palette.getByRole("option")).toHaveCount(1);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/settings\/audit$/);
  await expect(palette).toBeHidden();

  await page.keyboard.press("Control+k");
  await input.fill("palette clus");
  await expect(palette.getByRole("option")).toHaveCount(2);
  await page.keyboard.press("ArrowDown");
  await expect(palette.getByRole("option", { selected: true })).toContainText("deliveries");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(new RegExp(`/settings/webhooks/${webhook.id}$`));

  await page.getByRole("button", { name: "Commands" }).click();
  await input.fill(reservation.id);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(new RegExp(`/reservations/${reservation.id}$`));

  await page.keyboard.press("Control+k");
  await input.fill("dlv_unknown");
  await page.keyboard.press("Enter");
  await expect(palette.getByRole("alert")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(palette).toBeHidden();
});

test("the palette offers a user only the pages that they may open", async ({ pageOf }) => {
  const page = await pageOf("alice");
  await page.goto("/");
  await page.getByRole("button", { name: "Commands" }).click();
  const palette = page.getByRole("dialog", { name: "Commands" });
  await expect(palette.getByRole("option", { name: /^Reserv/ })).toHaveCount(2);
  await expect(palette.getByRole("option", { name: /Webhook|Audit|Users/ })).toHaveCount(0);
  await palette.getByRole("combobox").fill("nothing like this");
  await expect(palette.getByRole("status")).toContainText("No page or webhook has this name.");
});
