// A user leaves a screen while its request is in flight. The console must stay quiet (`quietConsole`), and nothing pulls the user back.

import type { Page } from "@playwright/test";
import { expect, test } from "../fixtures.ts";

/** Holds the requests to a server function, and returns what lets them continue. */
async function hold(page: Page, name: string): Promise<() => Promise<void>> {
  let release = () => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  await page.route(`**/rpc/${name}`, async (route) => {
    await released;
    await route.continue();
  });
  return async () => {
    const response = page.waitForResponse(`**/rpc/${name}`);
    release();
    await (await response).finished();
    // The page handles the response in a task of its own.
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));
  };
}

test("the result of a search that was left does not navigate", async ({ berth, pageOf, receiver }) => {
  const webhook = await berth.api.webhook({ name: "Left", endpoint_url: (await receiver()).endpoint });
  await berth.api.post(`/webhooks/${webhook.id}/test`, {});
  const [delivery] = await berth.api.deliveries(`webhook_id=${webhook.id}`);
  const page = await pageOf("admin");
  await page.goto("/deliveries");
  const release = await hold(page, "look-up");
  await page.getByRole("searchbox", { name: "Search" }).fill(delivery!.id);
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.getByRole("link", { name: "Reservations", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
  await release();
  await expect(page).toHaveURL(/\/reservations$/);
});

test("the secret of a webhook is shown also when its form was left, and the draft is gone", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks/new");
  await page.getByLabel("Webhook Name").fill("Created and left");
  await page.getByLabel("Endpoint URL").fill(service.endpoint);
  await page.getByLabel("API Key", { exact: true }).last().fill("key");
  const release = await hold(page, "create-webhook");
  await page.getByRole("button", { name: "Save Webhook" }).click();
  await page.getByRole("link", { name: "Reservations", exact: true }).click();
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
  await release();
  await expect(page.getByRole("dialog")).toContainText("Created and left");
  await expect(page).toHaveURL(/\/reservations$/);
  expect(await page.evaluate(() => Object.keys(sessionStorage).filter((key) => key.startsWith("webhook-draft:")))).toEqual([]);
  expect((await berth.api.get<{ items: { name: string }[] }>("/webhooks")).items.map((webhook) => webhook.name)).toContain("Created and left");
});
