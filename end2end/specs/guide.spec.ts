// The walkthrough of the guide: register and test a webhook, reserve, provision. Then the cases of its troubleshooting.

import type { Locator, Page } from "@playwright/test";
import { ADMIN, SSH_KEY, choose, copySecret, deliveryRows, expect, logIn, provisioning, test, testWebhook } from "../fixtures.ts";
import { local, nextHour } from "../support/api.ts";
import { type Child, freePort } from "../support/child.ts";
import { type Kind, kinds } from "../support/receivers.ts";

const SSH = "ssh user-alice@192.168.100.10";

/** Steps 1 and 2 of the guide. Returns the secret from the page. */
async function register(page: Page, endpoint: string): Promise<string> {
  await page.getByRole("link", { name: "Webhook Integrations" }).click();
  await page.getByRole("link", { name: "Add New Webhook" }).click();
  await page.getByLabel("Webhook Name").fill("GPU Cluster Manager");
  await page.getByLabel("Endpoint URL").fill(endpoint);
  await page.getByLabel("Resource Type").selectOption("gpu-cluster");
  await choose(page, "Authentication Method", "API Key");
  await page.getByLabel("API Key", { exact: true }).fill("the-key-of-your-service");
  const triggers = page.getByRole("group", { name: "Event Triggers" });
  for (const event of ["Reservation Created", "Reservation Modified", "Reservation Cancelled"]) {
    await triggers.getByRole("checkbox", { name: event }).check();
  }
  await triggers.getByRole("checkbox", { name: "Reservation Expired" }).uncheck();
  await expect(page.getByText(`POST ${endpoint}/reservation`, { exact: true }).first()).toBeVisible();
  await expect(page.getByText(`POST ${endpoint}/reservation/cancel`, { exact: true })).toBeVisible();
  await page.getByRole("button", { name: "Save Webhook" }).click();
  await expect(page.getByRole("heading", { name: "GPU Cluster Manager created" })).toBeVisible();
  const secret = await copySecret(page, "Signing secret");
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
  return secret;
}

/** The diagnosis of a test or an attempt. */
function verdict(page: Page | Locator, words: RegExp): Locator {
  return page.getByRole("status").filter({ hasText: words });
}

/** Reserves as a user. Ends on the page of the reservation and returns its id. */
async function reserve(page: Page, resource: number): Promise<string> {
  await page.goto(`/reserve?resource=${resource}`);
  const form = page.getByRole("region", { name: "Reservation", exact: true });
  await form.getByLabel("Start").fill(local(nextHour(1)));
  await form.getByLabel("End", { exact: true }).fill(local(nextHour(9)));
  await form.getByLabel("Title").fill("Training");
  await form.getByLabel("GPU", { exact: true }).selectOption("nvidia-a100");
  await form.getByLabel("Number of GPUs").fill("4");
  await form.getByLabel("SSH public key").fill(SSH_KEY);
  await form.getByRole("button", { name: "Reserve" }).click();
  await expect(page).toHaveURL(/\/reservations\/rsv-[0-9a-z]{26}$/);
  return new URL(page.url()).pathname.split("/").at(-1) ?? "";
}

for (const kind of kinds) {
  test.describe(`with ${kind.name}`, () => {
    let service: Child | undefined;

    test.afterEach(async () => {
      await service?.stop();
      service = undefined;
    });

    test("register, test, reserve, modify, cancel", async ({ berth, page, pageOf }) => {
      const resource = await berth.resource();
      const port = await freePort();
      await page.goto("/");
      await logIn(page, ADMIN);
      const secret = await register(page, `http://127.0.0.1:${port}/api/webhook`);
      service = await kind.start(port, secret);

      // Step 3: test the integration from the page of the webhook and from the list.
      await page.getByRole("button", { name: "Test Webhook" }).click();
      await expect(verdict(page, /The receiver responded with 20[02]\./)).toBeVisible();
      await expect(page.getByLabel("Request headers", { exact: true })).toContainText(/x-webhook-signature: sha256=/i);
      await expect(page.getByLabel("Request headers", { exact: true })).not.toContainText("the-key-of-your-service");
      await expect(page.getByLabel("Request body", { exact: true })).toContainText('"test": true');
      await expect(page.getByLabel("Response body", { exact: true })).toContainText("reservation_id");
      await page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
      await page.getByRole("link", { name: "Webhook Integrations" }).click();
      await page.getByRole("button", { name: "Test Webhook GPU Cluster Manager" }).click();
      const dialog = page.getByRole("dialog", { name: "Test GPU Cluster Manager" });
      await expect(verdict(dialog, /The receiver responded with 20[02]\./)).toBeVisible();
      await dialog.getByRole("button", { name: "Close" }).click();

      // The delivery log of the administrator updates itself while a user reserves.
      await page.getByRole("link", { name: "Deliveries", exact: true }).click();
      const user = await pageOf("alice");
      const id = await reserve(user, resource.id);
      await expect(provisioning(user)).toHaveText(/Ready$/);
      await expect(user.getByText(SSH, { exact: true })).toBeVisible();
      await expect(user.getByRole("button", { name: "Copy command" })).toBeVisible();
      const mine = deliveryRows(page).filter({ hasText: id });
      await expect(mine.filter({ hasText: "reservation.created" })).toContainText("Succeeded");

      await user.getByRole("button", { name: "Modify" }).click();
      const modify = user.getByRole("dialog", { name: "Modify reservation" });
      await modify.getByLabel("End", { exact: true }).fill(local(nextHour(10)));
      await modify.getByRole("button", { name: "Save changes" }).click();
      await expect(modify).toBeHidden();
      await expect(mine.filter({ hasText: "reservation.updated" })).toContainText("Succeeded");
      await expect(provisioning(user)).toHaveText(/Ready$/);
      await expect(user.getByText(SSH, { exact: true })).toBeVisible();

      await user.getByRole("button", { name: "Cancel reservation" }).click();
      const cancel = user.getByRole("dialog", { name: "Cancel this reservation?" });
      await cancel.getByLabel("Reason").fill("The training is over");
      await cancel.getByRole("button", { name: "Cancel reservation" }).click();
      await expect(provisioning(user)).toHaveText(/Released$/);
      await expect(user.getByText(SSH, { exact: true })).toBeHidden();
      await expect(mine.filter({ hasText: "reservation.cancelled" })).toContainText("Succeeded");
      await expect(mine).toHaveCount(3);
    });

    test("a wrong secret has its own diagnosis, is retried and reported", async ({ berth, pageOf }) => {
      const resource = await berth.resource();
      const port = await freePort();
      service = await kind.start(port, "another-secret");
      const webhook = await berth.api.webhook({ endpoint_url: `http://127.0.0.1:${port}/api/webhook` });
      const admin = await pageOf("admin");
      await testWebhook(admin, webhook);
      await expect(verdict(admin, kind.wrongSecret.words)).toContainText("Compare the webhook's secret");

      const user = await pageOf("alice");
      const id = await reserve(user, resource.id);
      await admin.goto(`/reservations/${id}`);
      await expect(admin.getByText(/next attempt in \d s/)).toBeVisible();
      await expect(admin.getByText("attempt 4 of 4")).toBeVisible();
      await expect(provisioning(user)).toHaveText(/Failed$/);
      await expect(user.getByText(kind.wrongSecret.words).first()).toBeVisible();
      const [delivery] = await berth.api.deliveries(`reservation_id=${id}`);
      await expectGuideRetries(berth.api.url, berth.api.token, delivery?.id ?? "", kind.wrongSecret.code);
    });

    test("a stopped and a slow receiver get different diagnoses", async ({ berth, pageOf }) => {
      const port = await freePort();
      const webhook = await berth.api.webhook({ endpoint_url: `http://127.0.0.1:${port}/api/webhook` });
      const admin = await pageOf("admin");
      const dialog = await testWebhook(admin, webhook);
      const send = dialog.getByRole("button", { name: "Test Webhook" });
      await expect(verdict(admin, /refused the connection: nothing listens/)).toContainText("Start your service");

      service = await kind.start(port, webhook.secret);
      await send.click();
      await expect(verdict(admin, /The receiver responded with 20[02]\./)).toBeVisible();

      // The kernel accepts connections for a stopped process, which sends no response.
      service.signal("SIGSTOP");
      await send.click();
      await expect(verdict(admin, /no response came within 4 seconds/)).toContainText("status_url");
      service.signal("SIGCONT");
      await send.click();
      await expect(verdict(admin, /The receiver responded with 20[02]\./)).toBeVisible();
    });
  });
}

test("a receiver that was unavailable gets the event with the retry", async ({ berth, pageOf }) => {
  const kind = kinds.at(-1) as Kind;
  const resource = await berth.resource();
  const port = await freePort();
  const webhook = await berth.api.webhook({ endpoint_url: `http://127.0.0.1:${port}/api/webhook` });
  const user = await pageOf("alice");
  const id = await reserve(user, resource.id);
  await expect.poll(async () => (await berth.api.deliveries(`reservation_id=${id}`))[0]?.status).toBe("retrying");
  const service = await kind.start(port, webhook.secret);
  try {
    await expect(provisioning(user)).toHaveText(/Ready$/);
    const [delivery] = await berth.api.deliveries(`reservation_id=${id}`);
    expect(delivery?.attempts).toBeGreaterThan(1);
  } finally {
    await service.stop();
  }
});

/** Four attempts, with at least 1, 2 and 4 seconds between them. */
async function expectGuideRetries(url: string, token: string, delivery: string, code: string): Promise<void> {
  const answer = await fetch(`${url}/api/v1/deliveries/${delivery}`, { headers: { authorization: `Bearer ${token}` } });
  const { attempt_log: log } = (await answer.json()) as { attempt_log: { started_at: string; duration_ms: number; diagnosis: { code: string } }[] };
  expect(log.map((attempt) => attempt.diagnosis.code)).toEqual([code, code, code, code]);
  for (const [n, wait] of [1_000, 2_000, 4_000].entries()) {
    const [before, after] = [log[n], log[n + 1]];
    if (before === undefined || after === undefined) throw new Error("an attempt is missing");
    const ended = Date.parse(before.started_at) + before.duration_ms;
    // Each time is rounded to the millisecond.
    expect(Date.parse(after.started_at) - ended).toBeGreaterThanOrEqual(wait - 2);
  }
}
