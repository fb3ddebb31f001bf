// *Certify receiver* on the page of a webhook: the run, its verdicts and what to change.

import { expect, test } from "../fixtures.ts";
import { responds } from "../support/test-receiver.ts";

test("certification of a receiver names what to change", async ({ berth, pageOf, receiver }) => {
  // The receiver accepts everything, so it does not verify signatures.
  const service = await receiver(responds(200));
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  const page = await pageOf("admin");
  await page.goto(`/settings/webhooks/${webhook.id}`);
  await page.getByRole("button", { name: "Certify receiver" }).click();
  const dialog = page.getByRole("dialog", { name: "Certify receiver" });
  await dialog.getByRole("button", { name: "Certify receiver" }).click();
  const wrong = dialog.getByRole("listitem").filter({ hasText: "Rejects a wrong signature" });
  await expect(wrong).toContainText("Failed");
  await expect(wrong.getByText(/respond with 401 if they differ/)).toBeVisible();
  const missing = dialog.getByRole("listitem").filter({ hasText: "Rejects a missing signature" });
  await expect(missing).toContainText("Skipped");
  await expect(dialog.getByRole("listitem").filter({ hasText: "Accepts reservation.created" })).toContainText("Passed");
});
