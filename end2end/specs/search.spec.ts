import { expect, test } from "../fixtures.ts";

test.describe("search of deliveries", () => {
  test("a search is applied, counted, and kept in the address", async ({ pageOf }) => {
    const page = await pageOf("admin");
    await page.goto("/deliveries");
    const search = page.getByRole("searchbox", { name: "Search" });
    await search.fill("event:created -status:cancelled");
    await search.press("Enter");
    await expect(page).toHaveURL(/q=event%3Acreated%20-status%3Acancelled/);
    await expect(page.getByRole("status", { name: "Search results" })).toContainText(/deliver(y|ies)/);
    await page.reload();
    await expect(search).toHaveValue("event:created -status:cancelled");
    await page.getByRole("button", { name: "Clear search" }).click();
    await expect(page).toHaveURL(/\/deliveries$/);
  });

  test("an invalid search names the position and the remedy", async ({ pageOf }) => {
    const page = await pageOf("admin");
    await page.goto("/deliveries");
    const search = page.getByRole("searchbox", { name: "Search" });
    await search.fill("status:failed stat:x");
    await page.getByRole("button", { name: "Search", exact: true }).click();
    await expect(search).toHaveAccessibleDescription(/Character 15: Unknown key "stat"/);
    await expect(page).toHaveURL(/\/deliveries$/);
    await search.fill("status:failed");
    await expect(search).not.toHaveAccessibleDescription(/Unknown key/);
  });

  test("a whole id opens its page", async ({ berth, pageOf, receiver }) => {
    const webhook = await berth.api.webhook({ name: "Searched", endpoint_url: (await receiver()).endpoint });
    await berth.api.post(`/webhooks/${webhook.id}/test`, {});
    const page = await pageOf("admin");
    await page.goto("/deliveries");
    const link = page.locator("#main td a[href^='/deliveries/dlv_']").first();
    const path = await link.getAttribute("href");
    await page.getByRole("searchbox", { name: "Search" }).fill(path!.split("/").pop()!);
    await page.getByRole("button", { name: "Search", exact: true }).click();
    await expect(page).toHaveURL(new RegExp(`${path}$`));
  });

  test("failures are grouped by cause, and results can be exported", async ({ pageOf }) => {
    const page = await pageOf("admin");
    await page.goto("/deliveries?q=test:no");
    const failures = page.getByRole("button", { name: "Failures by cause" });
    await failures.click();
    await expect(failures).toHaveAttribute("aria-pressed", "true");
    await expect(page.getByRole("heading", { name: "Failures" })).toBeVisible();
    const csv = page.waitForEvent("download");
    await page.getByRole("link", { name: "Export CSV" }).click();
    expect((await csv).suggestedFilename()).toBe("berth-deliveries.csv");
    const lines = page.waitForEvent("download");
    await page.getByRole("link", { name: "Export JSON Lines" }).click();
    expect((await lines).suggestedFilename()).toBe("berth-deliveries.jsonl");
  });
});
