// The journey of a newcomer on an empty server, recorded step by step: from the start of the server to the first delivery that appears
// while they watch. The whole journey must fit into the limit of the test.

import { choose, expect, test } from "../fixtures.ts";
import { Berth } from "../support/berth.ts";

// The recording: `npx playwright show-trace test-results/newcomer-…/trace.zip`.
test.use({ trace: "on" });

test("a newcomer sees the first delivery arrive", async ({ browser, receiver }, info) => {
  test.setTimeout(60_000);
  const service = await receiver();
  const started = Date.now();
  const berth = await Berth.start({ administrator: false });
  const context = await browser.newContext({ baseURL: berth.url });
  try {
    const page = await context.newPage();
    const step = async (name: string, work: () => Promise<void>) => {
      await test.step(name, work);
      info.annotations.push({ type: "elapsed", description: `${name}: ${((Date.now() - started) / 1_000).toFixed(1)} s` });
    };
    const dialog = page.getByRole("dialog");
    await step("Create the administrator", async () => {
      await page.goto("/");
      await page.locator("#app").getByLabel("Username").fill("root");
      await page.locator("#app").getByLabel("E-mail").fill("root@example.com");
      await page.locator("#app").getByLabel("Password").fill("correct horse battery");
      await page.getByRole("button", { name: "Create administrator" }).click();
      await expect(page.getByRole("heading", { name: "Webhook Integrations" })).toBeVisible();
    });
    await step("Describe a resource", async () => {
      await page.getByRole("link", { name: "Catalogue" }).first().click();
      await page.getByRole("button", { name: "New type" }).click();
      await dialog.getByLabel("Name").fill("GPU cluster");
      await dialog.getByLabel("Slug").fill("gpu-cluster");
      await dialog.getByRole("button", { name: "Save type" }).click();
      await expect(dialog).toBeHidden();
      await page.getByRole("button", { name: "New resource" }).click();
      await dialog.getByLabel("Name").fill("Cluster 1");
      await dialog.getByRole("button", { name: "Save resource" }).click();
      await expect(page.getByRole("cell", { name: "Cluster 1", exact: true })).toBeVisible();
    });
    await step("Register the service", async () => {
      await page.getByRole("link", { name: "Webhook Integrations" }).click();
      await page.getByRole("link", { name: "Add New Webhook" }).first().click();
      await page.getByLabel("Webhook Name").fill("GPU Cluster Manager");
      await page.getByLabel("Endpoint URL").fill(service.endpoint);
      await page.getByLabel("Resource Type").selectOption("gpu-cluster");
      await choose(page, "Authentication Method", "API Key");
      await page.getByLabel("API Key", { exact: true }).fill("the-key-of-your-service");
      await page.getByRole("button", { name: "Save Webhook" }).click();
      await expect(page.getByRole("heading", { name: "GPU Cluster Manager created" })).toBeVisible();
      await dialog.getByRole("button", { name: /I have copied it|Done|Close/ }).last().click();
    });
    await step("Watch the deliveries while a reservation is made", async () => {
      const second = await context.newPage();
      await second.goto("/deliveries");
      await expect(second.getByRole("heading", { name: "Deliveries", level: 1 })).toBeVisible();
      await page.getByRole("link", { name: "Reserve", exact: true }).first().click();
      await page.getByRole("button", { name: /Cluster 1/ }).or(page.getByRole("link", { name: /Cluster 1/ })).first().click();
      await page.getByRole("button", { name: "Reserve" }).last().click();
      await expect(page).toHaveURL(/\/reservations\/rsv-/);
      await expect(second.getByRole("row", { name: /reservation\.created/ }).first()).toContainText("200");
    });
    expect(service.received.length).toBeGreaterThan(0);
  } finally {
    await context.close();
    await berth.stop();
  }
});
