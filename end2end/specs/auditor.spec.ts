// An auditor sees everything and is offered nothing that changes it.

import { expect, logInByApi, test } from "../fixtures.ts";

const DORA = { username: "dora", password: "plain battery horse" };

test("an auditor sees every screen and no button that changes something", async ({ berth, browser, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ name: "Watched by Dora", endpoint_url: service.endpoint });
  await berth.api.post("/users", { ...DORA, email: "dora@example.com", role: "auditor" });
  const resource = await berth.resource();
  const alice = await berth.as("alice");
  const reservation = await alice.reserve(resource.id, 1, { title: "Of Alice" });
  await expect.poll(async () => (await berth.api.deliveries(`status=succeeded&webhook_id=${webhook.id}`)).length).toBeGreaterThan(0);
  const [delivery] = await berth.api.deliveries(`status=succeeded&webhook_id=${webhook.id}`);
  const page = await logInByApi(browser, berth, DORA.username, {}, DORA.password);
  const buttons = (name: string | RegExp) => page.getByRole("main").getByRole("button", { name });
  const open = async (path: string, heading: string) => {
    await page.goto(path);
    await expect(page.getByRole("heading", { name: heading, level: 1 })).toBeVisible();
    await expect(page.getByText("Loading", { exact: true })).toHaveCount(0);
    await page.screenshot({ path: `screenshots/auditor${path.replaceAll(/[^a-z]+/g, "-")}.png`, fullPage: true });
  };

  await open("/", "Hello, dora");
  await expect(page.getByRole("link", { name: "Reserve", exact: true }).and(page.locator(".button"))).toHaveCount(0);
  await open("/settings/webhooks", "Webhook Integrations");
  await expect(page.getByRole("link", { name: "Watched by Dora" })).toBeVisible();
  await expect(page.getByRole("switch", { name: "Enable Watched by Dora" })).toBeDisabled();
  await expect(page.getByRole("link", { name: "Add New Webhook" })).toHaveCount(0);
  await expect(buttons(/^Test Webhook/)).toHaveCount(0);
  await open(`/settings/webhooks/${webhook.id}?tab=settings`, "Watched by Dora");
  await expect(page.getByLabel("Webhook Name")).toBeDisabled();
  await expect(buttons("Save Webhook")).toBeDisabled();
  await expect(buttons(/Test Webhook|Rotate secret|Delete webhook/)).toHaveCount(0);
  await open("/deliveries", "Deliveries");
  await expect(buttons(/^Redeliver/)).toHaveCount(0);
  await open(`/deliveries/${delivery?.id}`, "reservation.created");
  await expect(page.getByText("Request", { exact: true }).first()).toBeVisible();
  await expect(buttons("Redeliver")).toHaveCount(0);
  await open("/settings/users", "Users");
  await expect(page.getByRole("cell", { name: "alice@example.com" })).toBeVisible();
  await expect(buttons(/New user|Edit/)).toHaveCount(0);
  await open("/reservations?whose=all", "Reservations");
  await expect(page.getByText("Of Alice")).toBeVisible();
  await open(`/reservations/${reservation.id}`, "Of Alice");
  await expect(buttons(/Modify|Cancel reservation/)).toHaveCount(0);
  await open(`/reserve?resource=${resource.id}`, "Reserve");
  await expect(page.getByRole("heading", { name: resource.name })).toBeVisible();
  await expect(buttons(/^(Reserve|Request access)$/)).toHaveCount(0);
  await open("/settings/catalogue", "Catalogue");
  await expect(buttons(/New|Edit|Delete/)).toHaveCount(0);

  // The page of an auditor is live: a change by another user appears.
  await page.goto("/reservations?whose=all");
  await expect(page.locator(".topbar").getByRole("status")).toHaveText("Live");
  await alice.reserve(resource.id, 5, { title: "Just now" });
  await expect(page.getByText("Just now")).toBeVisible();
  await page.context().close();
});
