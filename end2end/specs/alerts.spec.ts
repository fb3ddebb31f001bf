// Health checks, alerts by e-mail and to the operations webhook, mutes, and the automatic pause.

import { Webhook as StandardWebhook } from "standardwebhooks";
import { Berth, expect, logInByApi, test } from "../fixtures.ts";
import { MailServer } from "../support/mail-server.ts";
import { inspect } from "../support/screens.ts";
import { responds } from "../support/test-receiver.ts";

/** The time in which rules are evaluated and notices are sent. */
const EVALUATED = { timeout: 45_000 };

/** A server that sends e-mails to a mail server. */
async function withMail(use: (berth: Berth, mail: MailServer) => Promise<void>): Promise<void> {
  const mail = await MailServer.start();
  const berth = await Berth.start({ env: mail.settings });
  try {
    await berth.prepare();
    await use(berth, mail);
  } finally {
    await berth.stop();
    await mail.stop();
  }
}

test("failing health check is shown, sent by e-mail and to the operations webhook, and ends", async ({ browser, receiver }) => {
  test.setTimeout(240_000);
  await withMail(async (berth, mail) => {
    let healthy = false;
    const service = await receiver((response, request) => responds(request.path !== "/health" || healthy ? 200 : 503)(response, request));
    const operations = await receiver(responds(204));
    const webhook = await berth.api.webhook({ name: "GPU Cluster Manager", endpoint_url: service.endpoint });
    const page = await logInByApi(browser, berth, "admin");

    await page.goto("/alerts");
    await expect(page.getByRole("region", { name: "Firing", exact: true })).toContainText("No alert fires.");
    const channels = page.getByRole("region", { name: "Channels" });
    await expect(channels).toContainText("Sent from Berth <berth@example.com>");
    await channels.getByRole("button", { name: "Edit operations webhook" }).click();
    const dialog = page.getByRole("dialog", { name: "Operations webhook" });
    await dialog.getByRole("button", { name: "Save webhook" }).click();
    await expect(dialog.getByText("Enter the URL of the webhook.")).toBeVisible();
    await dialog.getByLabel("URL").fill(`${operations.endpoint}/secret-path-1234`);
    await dialog.getByRole("button", { name: "Save webhook" }).click();
    await expect(dialog).toBeHidden();
    const secret = await channels.locator("code").innerText();
    expect(secret).toMatch(/^whsec_/);
    await expect(channels).not.toContainText("secret-path");
    await channels.getByRole("button", { name: "Send test alert" }).click();
    await expect(channels.getByText("Sent to admin@")).toBeVisible();
    await expect(channels.getByText(/Sent to http:\/\/127\.0\.0\.1:\d+\/…1234/)).toBeVisible();
    await expect.poll(() => mail.mails.length).toBe(1);
    expect(mail.mails[0]?.text).toContain("Subject: [Berth] Test alert");

    await page.goto(`/settings/webhooks/${webhook.id}?tab=health`);
    const health = page.getByRole("region", { name: "Health", exact: true });
    await expect(health).toContainText("Off");
    await page.getByLabel("Health check path").fill("health");
    await page.getByRole("button", { name: "Save monitoring" }).click();
    await expect(page.getByText("Use a path of the endpoint's server that begins with /, e.g. /health.")).toBeVisible();
    await page.getByLabel("Health check path").fill("/health");
    await page.getByLabel("Interval (seconds)").fill("3600");
    await page.getByRole("button", { name: "Save monitoring" }).click();
    await expect(page.getByText("Saved")).toBeVisible();
    for (let n = 0; n < 2; n += 1) {
      await health.getByRole("button", { name: "Check now" }).click();
      await expect(health.getByRole("button", { name: "Check now" })).not.toHaveAttribute("aria-busy", "true");
    }
    await expect(health).toContainText("Failing");
    await expect(health).toContainText("The health check returned 503.");
    const rule = page.getByRole("region", { name: "Alert rules" }).last().getByRole("row").filter({ hasText: "Failed health checks" });
    await expect(rule).toContainText("Firing", EVALUATED);
    await inspect(page, "webhook-health");

    await expect.poll(() => mail.mails.length, EVALUATED).toBe(2);
    expect(mail.mails[1]?.text).toContain("Subject: [Berth] Firing: Failed health checks of GPU Cluster Manager");
    await expect.poll(() => operations.received.length, EVALUATED).toBe(2);
    const [, request] = operations.received;
    expect(request?.headers["x-webhook-event"]).toBe("alert.firing");
    const body = new StandardWebhook(secret).verify(request?.body.toString() ?? "", request?.headers as Record<string, string>);
    expect(body).toMatchObject({ event_type: "alert.firing", alert: { kind: "health" }, webhook: { id: webhook.id } });

    await page.goto("/");
    await expect(page.getByRole("region", { name: "Needs attention" })).toContainText("Failed health checks");
    await page.goto("/alerts");
    const firing = page.getByRole("region", { name: "Firing alerts" });
    await expect(firing).toContainText("GPU Cluster Manager");
    await firing.getByRole("button", { name: "Mute Failed health checks of GPU Cluster Manager" }).click();
    await expect(firing).toContainText("Muted for");
    await firing.getByRole("button", { name: "Unmute" }).click();
    await expect(firing).not.toContainText("Muted for");
    await inspect(page, "alerts");

    await page.getByRole("switch", { name: "Alerts by e-mail" }).click();
    await expect(page.getByRole("switch", { name: "Alerts by e-mail" })).toHaveAttribute("aria-checked", "false");
    healthy = true;
    await berth.api.post(`/webhooks/${webhook.id}/health-check`);
    await expect(page.getByRole("region", { name: "Ended alerts" })).toContainText("GPU Cluster Manager", EVALUATED);
    await expect.poll(() => operations.received.at(-1)?.headers["x-webhook-event"], EVALUATED).toBe("alert.resolved");
    expect(mail.mails, "e-mails are off").toHaveLength(2);
    await page.context().close();
  });
});

test("rules are edited for all webhooks and for one", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  const page = await pageOf("admin");
  await page.goto("/alerts");
  const rules = page.getByRole("region", { name: "Rules", exact: true });
  await rules.getByRole("button", { name: "Edit rules" }).click();
  const dialog = page.getByRole("dialog", { name: "Edit rules" });
  const rate = dialog.getByRole("group", { name: "Error rate" });
  await expect(rate.getByLabel("Fires at (%)")).toHaveValue("50");
  await rate.getByLabel("Fires at (%)").fill("10");
  await dialog.getByRole("button", { name: "Save rules" }).click();
  await expect(rate.getByText("Choose a value from 0 to the threshold.")).toBeVisible();
  await rate.getByLabel("Ends at (%)").fill("5");
  await dialog.getByRole("button", { name: "Save rules" }).click();
  await expect(dialog).toBeHidden();
  await expect(rules).toContainText("Fires at 10 % or more");

  await page.goto(`/settings/webhooks/${webhook.id}?tab=health`);
  const own = page.getByRole("region", { name: "Alert rules" }).last();
  await expect(own.getByRole("row").filter({ hasText: "Error rate" })).toContainText("Fires at 10 % or more");
  await page.getByRole("button", { name: "Edit rules" }).click();
  const form = page.getByRole("dialog", { name: "Edit alert rules" });
  const group = form.getByRole("group", { name: "Error rate" });
  await group.getByLabel("Own rule for this webhook").check();
  await group.getByLabel("Enabled").uncheck();
  await form.getByRole("button", { name: "Save rules" }).click();
  await expect(form).toBeHidden();
  await expect(own.getByRole("row").filter({ hasText: "Error rate" })).toContainText("Off (own rule)");
  await berth.api.call("PUT", "/alerts/rules", { rules: [] });
});

test("paused webhook offers to send its queued and its failed deliveries", async ({ berth, pageOf, receiver }) => {
  test.setTimeout(240_000);
  const service = await receiver(responds(500));
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint, retry: { waits: [] } });
  await berth.api.call("PATCH", `/webhooks/${webhook.id}/monitoring`, { health_path: "/health", health_interval_seconds: 10, pause_after_minutes: 1 });
  const resource = await berth.resource();
  await berth.api.reserve(resource.id, 1);
  const state = async () => (await berth.api.get<{ state: string }>(`/webhooks/${webhook.id}`)).state;
  await expect.poll(state, { timeout: 120_000 }).toBe("paused");
  await berth.api.reserve(resource.id, 5);
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}?tab=health`);
  await expect(page.getByText("Its receiver has not recovered yet.")).toBeVisible();
  service.behaviour = responds(200);
  await expect(page.getByText(/Its receiver is healthy again since/)).toBeVisible({ timeout: 60_000 });
  await expect(page.getByText("1 queued delivery and 1 failed delivery since the start of the failure.")).toBeVisible();
  await page.getByRole("button", { name: "Resume and send" }).click();
  await expect(page.getByText("Berth paused this webhook")).toHaveCount(0);
  await expect.poll(async () => (await berth.api.deliveries(`webhook_id=${webhook.id}&status=succeeded`)).length).toBe(2);
});
