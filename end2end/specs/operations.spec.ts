// The operations of the home page: what needs attention, metrics with links and tables, and the metrics of a webhook.

import { expect, logInByApi, test, withBerth } from "../fixtures.ts";
import { responds } from "../support/test-receiver.ts";

test("home starts with what needs attention, and each item has its remedy", async ({ browser, receiver }) => {
  await withBerth(async (berth) => {
    const service = await receiver(responds(500, { detail: "rack 42 is offline" }));
    const page = await logInByApi(browser, berth, "admin");
    await page.goto("/");
    const attention = page.getByRole("region", { name: "Needs attention" });
    await expect(attention).toContainText("Nothing needs attention.");

    await berth.api.webhook({ name: "GPU Cluster Manager", endpoint_url: service.endpoint, retry: { waits: [] } });
    const quiet = await berth.api.webhook({ name: "Inventory", endpoint_url: service.endpoint, provisions: false });
    await berth.api.post(`/webhooks/${quiet.id}/pause`);
    const resource = await berth.resource();
    const pilot = await berth.resource({ name: "H200 pilot", status: "restricted" });
    for (const hours of [1, 4]) await berth.api.reserve(resource.id, hours);
    await (await berth.as("bob")).post("/access-requests", { resource_id: pilot.id, reason: "Benchmark for the March paper" });

    const failing = attention.getByRole("listitem").filter({ hasText: "GPU Cluster Manager" });
    await expect(failing).toContainText(/fails since .*: The receiver responded with 500.*rack 42 is offline/);
    await expect(failing).toContainText("2 failed deliveries of 2 reservations, no queued events");
    const paused = attention.getByRole("listitem").filter({ hasText: "Inventory" });
    await expect(paused).toContainText("Inventory is paused.");
    await expect(paused).toContainText("2 queued events");
    await expect(paused.getByRole("link", { name: "Resume…" })).toHaveAttribute("href", `/settings/webhooks/${quiet.id}`);
    const request = attention.getByRole("listitem").filter({ hasText: "requests access to" });
    await expect(request).toContainText("bob requests access to H200 pilot: “Benchmark for the March paper”");
    await request.getByRole("button", { name: "Approve request from bob" }).click();
    await expect(request).toHaveCount(0);

    service.behaviour = responds(200);
    await failing.getByRole("button", { name: "Fixed: resend 2 deliveries to GPU Cluster Manager" }).click();
    const dialog = page.getByRole("dialog", { name: "Redeliver failed deliveries" });
    await dialog.getByRole("button", { name: "Redeliver 2 deliveries" }).click();
    await expect(dialog).toContainText("2 of 2 queued");
    await dialog.getByRole("button", { name: "Close" }).last().click();
    await expect(failing).toHaveCount(0);
    await page.context().close();
  });
});

test("figures, charts and tables link to the deliveries behind them", async ({ berth, pageOf, receiver }) => {
  const [good, bad] = [await receiver(), await receiver(responds(503))];
  const one = await berth.api.webhook({ name: "Succeeds", endpoint_url: good.endpoint });
  const other = await berth.api.webhook({ name: "Fails", endpoint_url: bad.endpoint, retry: { waits: [] }, provisions: false });
  await berth.api.reserve((await berth.resource()).id);
  await expect.poll(async () => (await berth.api.deliveries(`webhook_id=${other.id}&status=failed`)).length).toBe(1);
  await expect.poll(async () => (await berth.api.deliveries(`webhook_id=${one.id}&status=succeeded`)).length).toBe(1);
  const page = await pageOf("admin");

  await page.goto(`/settings/webhooks/${other.id}`);
  const figure = (name: string) => page.getByRole("term").filter({ hasText: name }).locator("+ dd");
  // The counters follow the log within seconds, and the page is live.
  await expect(async () => {
    await page.reload();
    await expect(figure("Attempts")).toHaveText("1", { timeout: 2_000 });
  }).toPass();
  await expect(figure("Success rate")).toHaveText("0%");
  await expect(figure("Backlog")).toHaveText("0");
  const chart = page.getByRole("slider", { name: "Attempts by response" });
  await chart.focus();
  await expect(chart).toHaveAttribute("aria-valuetext", /: 5xx 1$/);
  await page.getByRole("button", { name: "Table: Attempts by response" }).click();
  const table = page.getByRole("region", { name: "Attempts by response, values" });
  await expect(table.getByRole("columnheader")).toHaveText(["Time", "5xx"]);
  await table.getByRole("row").nth(1).getByRole("link", { name: "1", exact: true }).click();
  await expect(page).toHaveURL(new RegExp(`/deliveries\\?webhook=${other.id}&since=.*&until=.*&q=code%3A5xx$`));
  await expect(page.getByRole("region", { name: "Deliveries" }).locator("tr[data-id]")).toHaveCount(1);

  await page.goto("/");
  const period = page.getByRole("group", { name: "Period" });
  await period.getByRole("button", { name: "90 d" }).click();
  await expect(page).toHaveURL(/\?range=90d$/);
  await expect(period.getByRole("button", { name: "90 d" })).toHaveAttribute("aria-pressed", "true");
  const outcomes = page.getByRole("slider", { name: "Attempts by outcome" });
  await expect(outcomes).toHaveAttribute("aria-valuemax", /^(89|90|91)$/);
  await outcomes.focus();
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/deliveries\?since=.*T00%3A00%3A00Z&until=.*T00%3A00%3A00Z$/);
  await page.goBack();
  await expect(page).toHaveURL(/\?range=90d$/);
});
