// What responses and status updates do to a reservation, as its owner and the integrator see it.

import { expect, provisioning, test, testWebhook } from "../fixtures.ts";
import { type Behaviour, responds } from "../support/test-receiver.ts";

/** A success with access information. */
function ready(address: string): Behaviour {
  const access = { ip_address: address, port: 22, username: "user-alice", connection_command: `ssh user-alice@${address}` };
  return responds(200, { status: "success", message: `At ${address}`, estimated_ready_time: "5 minutes", details: { access_info: access } });
}

test("each service has its own card, and a failed change does not take the access away", async ({ berth, pageOf, receiver }) => {
  let answer = ready("192.0.2.1");
  const machines = await receiver((response, request) => answer(response, request));
  const network = await receiver(ready("192.0.2.2"));
  await berth.api.webhook({ name: "Machines", endpoint_url: machines.endpoint, retry: { waits: [2] } });
  await berth.api.webhook({ name: "Network", endpoint_url: network.endpoint });
  const alice = await berth.as("alice");
  const resource = await berth.resource();
  const reservation = await alice.reserve(resource.id);
  const page = await pageOf("alice");
  await page.goto(`/reservations/${reservation.id}`);
  await expect(provisioning(page)).toHaveText(/Ready$/);
  const card = (name: string) => page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: new RegExp(`^${name}`) }) });
  await expect(card("Machines")).toContainText("ssh user-alice@192.0.2.1");
  await expect(card("Network")).toContainText("ssh user-alice@192.0.2.2");
  await expect(card("Network")).toContainText("Estimated ready time: 5 minutes");

  answer = responds(500, { detail: "maintenance" });
  await page.getByRole("button", { name: "Modify" }).click();
  await page.getByRole("dialog").getByLabel("Title").fill("A better title");
  await page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  await expect(card("Machines")).toContainText("Change not confirmed by Machines.");
  await expect(card("Machines")).toContainText("Next attempt");
  await expect(card("Machines")).toContainText("The service may still use the previous values.");
  await expect(card("Machines")).toContainText("maintenance");
  await expect(card("Machines")).toContainText("ssh user-alice@192.0.2.1");
  await expect(card("Network")).not.toContainText("not confirmed");
  const row = (name: string) => page.getByRole("row").filter({ hasText: name }).filter({ hasText: "reservation.updated" });
  await expect(row("Machines")).toContainText("Failed");
  await expect(row("Network")).toContainText("Succeeded");
  await expect(provisioning(page)).toHaveText(/Ready$/);

  answer = ready("192.0.2.1");
  await page.getByRole("button", { name: "Modify" }).click();
  await page.getByRole("dialog").getByLabel("Title").fill("The best title");
  await page.getByRole("dialog").getByRole("button", { name: "Save" }).click();
  await expect(card("Machines")).not.toContainText("not confirmed");
});

const EFFECTS: { name: string; behaviour: Behaviour; text: RegExp; tone: string; events?: string[] }[] = [
  { name: "failure", behaviour: responds(200, { status: "failed", message: "no GPUs" }), text: /a reservation becomes\s*Failed\s*Message: no GPUs/, tone: "error" },
  { name: "unknown status", behaviour: responds(200, { status: "exploded" }), text: /becomes\s*Provisioning\s*The response has the unknown status "exploded"/, tone: "warning" },
  { name: "success", behaviour: ready("192.0.2.1"), text: /becomes\s*Ready\s*Message: At 192.0.2.1\s*Estimated ready time: 5 minutes\s*Access: ssh/, tone: "success" },
  { name: "refused change", events: ["reservation.updated"], behaviour: responds(200, { status: "failed" }), text: /One that is ready stays ready, and its page shows that the change is not confirmed/, tone: "error" },
];

for (const { name, behaviour, text, tone, events } of EFFECTS) {
  test(`a test shows the effect of its response: ${name}`, async ({ berth, pageOf, receiver }) => {
    const service = await receiver(behaviour);
    const webhook = await berth.api.webhook({ endpoint_url: service.endpoint, ...(events && { events }) });
    const page = await pageOf("admin");
    const dialog = await testWebhook(page, webhook);
    const verdict = dialog.getByRole("status").filter({ hasText: text });
    await expect(verdict).toBeVisible();
    await expect(verdict).toHaveClass(new RegExp(tone));
  });
}

test("the form warns about a second service for a type and offers to listen only", async ({ berth, pageOf, receiver }) => {
  const service = await receiver();
  await berth.api.webhook({ name: "Machines", endpoint_url: service.endpoint });
  const page = await pageOf("admin");
  await page.goto("/settings/webhooks/new");
  await page.getByLabel("Webhook Name").fill("Inventory");
  await page.getByLabel("Endpoint URL").fill(`${service.endpoint}/inventory`);
  const warning = page.getByText(/Machines already provisions/);
  await expect(warning).toHaveText("Machines already provisions resources.");
  await page.getByLabel("Resource Type").selectOption("gpu-cluster");
  await expect(warning).toHaveText("Machines already provisions gpu-cluster.");
  await page.getByRole("button", { name: "Listen only" }).click();
  await expect(warning).toBeHidden();
  await page.getByRole("button", { name: "Save Webhook" }).click();
  await expect(page.getByRole("heading", { name: "Inventory created" })).toBeVisible();
  const { items } = await berth.api.get<{ items: { name: string; provisions: boolean }[] }>("/webhooks");
  expect(items.find((webhook) => webhook.name === "Inventory")?.provisions).toBe(false);
});
