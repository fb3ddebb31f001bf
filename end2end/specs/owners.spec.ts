// Owners: an administrator makes a group the owner of a resource type. Its member, who is no administrator, registers a webhook
// for the type, watches its deliveries, decides on access and cancels a reservation, and sees nothing of other teams.

import { type Berth, copySecret, expect, test as shared, testWebhook, withBerth } from "../fixtures.ts";
import { inspect } from "../support/screens.ts";

/** Its own server: the owner of a type sees the deliveries of every test. */
const test = shared.extend<object, { berth: Berth }>({
  berth: [async ({}, use) => withBerth(use), { scope: "worker", timeout: 120_000 }],
});

test("the member of a group that owns a type manages its webhooks, deliveries, requests and reservations", async ({ berth, pageOf, receiver }) => {
  test.setTimeout(240_000);
  const { api } = berth;
  const service = await receiver();
  await api.post("/resource-types", { slug: "fpga-board", name: "FPGA board" });
  const gpu = await berth.resource();
  const restricted = await berth.resource({ name: "GPU of the owners", status: "restricted" });
  const board = await berth.resource({ name: "Board of another team", resource_type: "fpga-board" });
  await api.webhook({ name: "Other team", endpoint_url: service.endpoint, resource_type: "fpga-board" });
  await api.webhook({ name: "Inventory of all types", endpoint_url: service.endpoint, resource_type: null, provisions: false });
  const bob = await berth.as("bob");
  const foreign = await bob.reserve(board.id, 1, { title: "On the board" });
  const reserved = await bob.reserve(gpu.id, 1, { title: "Training of Bob" });
  await bob.post("/access-requests", { resource_id: restricted.id, reason: "The thesis needs more memory." });

  // The administrator creates the group, and makes it the owner of the type.
  const admin = await pageOf("admin");
  await admin.goto("/settings/groups");
  await inspect(admin, "owners-groups-empty");
  await admin.getByRole("button", { name: "New group" }).first().click();
  const dialog = admin.getByRole("dialog");
  await dialog.getByLabel("Name", { exact: true }).fill("GPU team");
  await dialog.getByLabel("Description").fill("Runs the GPU clusters");
  await dialog.getByLabel("User", { exact: true }).selectOption("alice");
  await dialog.getByRole("button", { name: "Add user" }).click();
  await expect(dialog.getByRole("button", { name: "Remove alice" })).toBeVisible();
  await inspect(admin, "owners-group-form");
  await dialog.getByRole("button", { name: "Save group" }).click();
  await expect(admin.getByRole("row", { name: /GPU team/ })).toContainText("alice");
  await inspect(admin, "owners-groups");
  await admin.goto("/settings/catalogue");
  await admin.getByRole("button", { name: "Owners of GPU cluster", exact: true }).click();
  await dialog.getByLabel("Group", { exact: true }).selectOption("GPU team");
  await dialog.getByRole("button", { name: "Add group" }).click();
  await inspect(admin, "owners-owners-form");
  await dialog.getByRole("button", { name: "Save owners" }).click();
  await expect(dialog).toBeHidden();

  // Alice owns the type now. Her navigation has the screens of an owner, but not those of administrators.
  const page = await pageOf("alice");
  await page.goto("/");
  const navigation = page.getByRole("navigation", { name: "Main" });
  for (const name of ["Deliveries", "Webhook Integrations", "Catalogue"]) {
    await expect(navigation.getByRole("link", { name, exact: true })).toBeVisible();
  }
  for (const name of ["Users", "Groups", "Audit log"]) {
    await expect(navigation.getByRole("link", { name, exact: true })).toHaveCount(0);
  }
  await expect(page.getByRole("listitem").filter({ hasText: "requests access to" })).toHaveCount(1);
  await inspect(page, "owners-home");

  // She registers a webhook. The form offers her type only.
  await page.goto("/settings/webhooks/new");
  const type = page.getByLabel("Resource Type");
  await expect(type.getByRole("option")).toHaveText([/gpu-cluster/]);
  await page.getByLabel("Webhook Name").fill("GPU Cluster Manager");
  await page.getByLabel("Endpoint URL").fill(service.endpoint);
  await inspect(page, "owners-webhook-form");
  await page.getByRole("button", { name: "Save Webhook" }).click();
  await copySecret(page, "Signing secret");
  const [own] = (await (await berth.as("alice")).get<{ items: { id: number }[] }>("/webhooks")).items;
  const exchange = await testWebhook(page, own ?? { id: 0 });
  await expect(exchange.getByRole("list", { name: "Timings" })).toContainText("Total");
  await page.goto("/settings/webhooks");
  await expect(page.getByRole("link", { name: "GPU Cluster Manager" })).toBeVisible();
  await expect(page.getByText(/Other team|Inventory of all types/)).toHaveCount(0);
  await inspect(page, "owners-webhooks");

  // Her deliveries: the test event and, at once, a new reservation. None of the other webhooks.
  await page.goto("/deliveries");
  await expect(page.locator(".topbar").getByRole("status")).toHaveText("Live");
  await bob.reserve(gpu.id, 5, { title: "Later" });
  await bob.reserve(board.id, 5, { title: "On the board again" });
  const rows = page.getByRole("row").filter({ hasText: "reservation.created" });
  await expect(rows).toHaveCount(2);
  await expect(page.getByText(/Other team|Inventory of all types/)).toHaveCount(0);
  await inspect(page, "owners-deliveries");
  await rows.first().getByRole("link", { name: "reservation.created" }).click();
  await page.getByRole("button", { name: "Redeliver", exact: true }).click();
  await expect(page.getByText("Redelivery of")).toBeVisible();

  // The changes of her webhook, without addresses.
  await page.goto("/settings/webhooks");
  await page.getByRole("link", { name: "GPU Cluster Manager" }).click();
  await page.getByRole("link", { name: "Changes" }).click();
  await expect(page.getByText("webhook.created")).toBeVisible();
  await expect(page.getByText(/^Session/).first()).toHaveText("Session");

  // She approves the access request, and cancels a reservation.
  await page.goto("/access-requests");
  await inspect(page, "owners-access-requests");
  await page.getByRole("button", { name: "Approve request from bob" }).click();
  await expect(page.getByText("No access requests")).toBeVisible();
  await page.goto("/reservations?whose=all");
  await expect(page.getByText("Training of Bob")).toBeVisible();
  await expect(page.getByText("On the board")).toHaveCount(0);
  await inspect(page, "owners-reservations");
  await page.getByText("Training of Bob").click();
  await page.getByRole("button", { name: "Cancel reservation" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel reservation" }).click();
  await expect(page.getByText("Cancelled", { exact: true }).first()).toBeVisible();
  expect((await api.get<{ cancelled_by: string }>(`/reservations/${reserved.id}`)).cancelled_by).toBe("alice");
  await page.goto(`/reservations/${foreign.id}`);
  await expect(page.getByText(/not found/i).first()).toBeVisible();

  // Her resource goes out of service. Types, owners and resources of the other team have no buttons.
  await page.goto("/settings/catalogue");
  await expect(page.getByRole("button", { name: "New type" })).toHaveCount(0);
  await expect(page.getByRole("button", { name: /^Owners/ })).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Edit Board of another team" })).toHaveCount(0);
  await page.getByRole("button", { name: "Edit GPU of the owners" }).click();
  await page.getByRole("dialog").getByText("Maintenance", { exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Save resource" }).click();
  await expect(page.getByRole("row", { name: /GPU of the owners/ })).toContainText("Maintenance");
  await inspect(page, "owners-catalogue");

  // Without the group she is a user like every other.
  await admin.goto("/settings/groups");
  await admin.getByRole("button", { name: "Delete GPU team" }).click();
  await dialog.getByRole("button", { name: "Delete group" }).click();
  await expect(admin.getByText("No groups yet")).toBeVisible();
  await page.goto("/");
  await expect(navigation.getByRole("link", { name: "Webhook Integrations" })).toHaveCount(0);
});
