// Client certificate and custom CA of a webhook: the fields of the form, their errors, and a test event to a receiver that
// requires a client certificate.

import { expect, test } from "../fixtures.ts";
import { authority } from "../support/authority.ts";
import { inspect } from "../support/screens.ts";
import { responds } from "../support/test-receiver.ts";

test("webhook with a client certificate is created, tested and changed", async ({ berth, pageOf, receiver }) => {
  const { ca, server, client } = authority();
  const service = await receiver(responds(200), { ca, server });
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks/new");
  await page.getByLabel("Webhook Name").fill("GPU over mTLS");
  await page.getByLabel("Endpoint URL").fill(service.endpoint);
  await page.getByText("TLS: client certificate, custom CA").click();
  const certificate = page.getByLabel("Client certificate", { exact: false }).and(page.locator("textarea"));
  const key = page.getByLabel("Private key", { exact: false }).and(page.locator("textarea"));
  const authorities = page.getByLabel("CA certificates", { exact: false }).and(page.locator("textarea"));
  const save = page.getByRole("button", { name: "Save Webhook" });
  // A key in the field of certificates, which are visible, is rejected, and not stored in the browser.
  await certificate.fill(client.certificate + client.key);
  await save.click();
  await expect(page.getByText("This text contains a private key, and certificates are visible.", { exact: false })).toBeVisible();
  await inspect(page, "webhook-tls-error");
  const drafts = await page.evaluate(() => JSON.stringify(sessionStorage));
  expect(drafts).toContain("BEGIN CERTIFICATE");
  expect(drafts).not.toContain("PRIVATE KEY");
  // The server finds that the key belongs to another certificate.
  await certificate.fill(client.certificate);
  await key.fill(server.key);
  await save.click();
  await expect(page.getByText("The private key does not belong to the client certificate.", { exact: false })).toBeVisible();
  await page.getByLabel("Choose file: Private key").setInputFiles({ name: "client.key", mimeType: "text/plain", buffer: Buffer.from(client.key) });
  await expect(key).toHaveValue(client.key);
  await authorities.fill(ca);
  await save.click();
  await expect(page.getByRole("heading", { name: "GPU over mTLS created" })).toBeVisible();
  const [stored] = (await berth.api.get<{ items: { id: number }[] }>("/webhooks")).items;
  await page.goto(`/settings/webhooks/${stored?.id}`);
  await expect(page.getByText(/Client certificate O=Example, CN=berth, expires .*; 1 custom CA/)).toBeVisible();
  const tested = await berth.api.post<{ outcome: string }>(`/webhooks/${stored?.id}/test`, {});
  expect(tested.outcome).toBe("succeeded");
  expect(service.received).toHaveLength(1);

  await page.goto(`/settings/webhooks/${stored?.id}/edit`);
  await expect(page.getByText(/Issued by O=Example, CN=Internal CA, expires/).first()).toBeVisible();
  await expect(key).toHaveValue("");
  await inspect(page, "webhook-tls");
  await page.getByRole("button", { name: "Remove client certificate" }).click();
  await save.click();
  await expect(page.getByRole("heading", { name: "GPU over mTLS" })).toBeVisible();
  await expect(page.getByText("1 custom CA", { exact: true })).toBeVisible();
  const rejected = await berth.api.post<{ diagnosis: { message: string } }>(`/webhooks/${stored?.id}/test`, {});
  expect(rejected.diagnosis.message).toContain("requires a client certificate");
});
