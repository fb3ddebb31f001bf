// Screenshots of every screen in light, dark and at the width of a phone, and an accessibility check of each by axe.

import type { Page } from "@playwright/test";
import { Berth, SSH_KEY, choose, expect, logInByApi, newContext, test as base } from "../fixtures.ts";
import type { Reservation } from "../support/api.ts";
import { folder, inspect } from "../support/screens.ts";
import { TestReceiver, responds } from "../support/test-receiver.ts";

/** The data of the screens. */
interface Scene {
  admin: Page;
  alice: Page;
  ready: string;
  failed: string;
  webhook: number;
  paused: number;
  delivery: string;
  resource: number;
  restricted: number;
}

const test = base.extend<object, { scene: Scene }>({
  scene: [
    async ({ browser }, use) => {
      // Its own server, because other tests delete webhooks.
      const berth = await Berth.start();
      await berth.prepare();
      const { api } = berth;
      const good = await TestReceiver.start(
        responds(200, {
          status: "success",
          message: "Resource provisioned successfully",
          details: {
            cluster_id: "gpu-cluster-7",
            access_info: { ip_address: "192.168.100.10", port: 22, username: "user-alice", connection_command: "ssh user-alice@192.168.100.10" },
          },
        }),
      );
      const bad = await TestReceiver.start(responds(500, { detail: "no free node" }));
      await api.post("/resource-types", { slug: "switch-port", name: "Switch port", color: "#b45309" });
      const a100 = await berth.resource({ name: "A100 cluster", location: "Hall 1, row A", specs: "4 nodes, 8 × NVIDIA A100 80 GB each, InfiniBand" });
      const h100 = await berth.resource({ name: "H100 cluster", location: "Hall 1, row B", specs: "2 nodes, 8 × NVIDIA H100" });
      const pilot = await berth.resource({ name: "H200 pilot", status: "restricted", specs: "Ask for access first" });
      const port = await berth.resource({ name: "leaf-1 port 17", resource_type: "switch-port", status: "maintenance" });
      expect(port.id).toBeGreaterThan(0);
      const webhook = await api.webhook({ name: "GPU Cluster Manager", endpoint_url: good.endpoint, auth: { method: "api_key", key: "k" } });
      await api.webhook({ name: "Inventory", endpoint_url: bad.endpoint, retry: { waits: [1] }, resource_type: null, provisions: false });
      const paused = await api.webhook({ name: "Access desk", endpoint_url: good.endpoint, events: ["user.access_requested"] });
      const alice = await berth.as("alice");
      const ready = await alice.reserve(a100.id, 2, { title: "Training the large model", user_ssh_key: SSH_KEY });
      const bob = await berth.as("bob");
      await bob.reserve(a100.id, 26, { title: "Nightly evaluation" });
      await api.post(`/webhooks/${paused.id}/pause`);
      await bob.post("/access-requests", { resource_id: pilot.id, reason: "The thesis needs more memory than the A100 has." });
      await expect.poll(async () => (await api.deliveries("status=failed")).length, { timeout: 30_000 }).toBeGreaterThan(0);
      const [delivery] = await api.deliveries("status=failed");
      await expect.poll(async () => (await alice.get<Reservation>(`/reservations/${ready.id}`)).provisioning.status).toBe("ready");
      await api.post(`/webhooks/${webhook.id}/test`);
      const failed = await alice.reserve(h100.id, 3, { title: "" });
      await berth.token("admin", "nightly training", "read");
      const scene = {
        admin: await logInByApi(browser, berth, "admin"),
        alice: await logInByApi(browser, berth, "alice"),
        ready: ready.id,
        failed: failed.id,
        webhook: webhook.id,
        paused: paused.id,
        delivery: delivery?.id ?? "",
        resource: a100.id,
        restricted: pilot.id,
      };
      await use(scene);
      await scene.admin.context().close();
      await scene.alice.context().close();
      await berth.stop();
      await good.stop();
      await bad.stop();
    },
    { scope: "worker", timeout: 120_000 },
  ],
});

interface Screen {
  name: string;
  who: "admin" | "alice";
  path: (scene: Scene) => string;
  heading: string | RegExp;
  act?: (page: Page) => Promise<void>;
}

const dialogOf = (button: string) => async (page: Page) => {
  await page.getByRole("button", { name: button }).first().click();
  await expect(page.getByRole("dialog").getByRole("heading").first()).toBeVisible();
};

const SCREENS: Screen[] = [
  { name: "home", who: "admin", path: () => "/", heading: "Hello, admin" },
  {
    name: "home-tables",
    who: "admin",
    path: () => "/",
    heading: "Hello, admin",
    act: async (page) => {
      await page.getByRole("button", { name: "Table: Response time" }).click();
      await expect(page.getByRole("region", { name: "Response time, values" })).toBeVisible();
      await page.getByRole("slider", { name: "Attempts by outcome" }).focus();
    },
  },
  { name: "home-user", who: "alice", path: () => "/", heading: "Hello, alice" },
  { name: "reserve", who: "alice", path: (s) => `/reserve?resource=${s.resource}`, heading: "Reserve" },
  { name: "reserve-restricted", who: "alice", path: (s) => `/reserve?resource=${s.restricted}`, heading: "Reserve" },
  { name: "reservations", who: "alice", path: () => "/reservations", heading: "Reservations" },
  { name: "reservation-ready", who: "alice", path: (s) => `/reservations/${s.ready}`, heading: "Training the large model" },
  { name: "reservation-deliveries", who: "admin", path: (s) => `/reservations/${s.failed}`, heading: "H100 cluster" },
  { name: "reservation-modify", who: "alice", path: (s) => `/reservations/${s.ready}`, heading: "Training the large model", act: dialogOf("Modify") },
  { name: "reservation-cancel", who: "alice", path: (s) => `/reservations/${s.ready}`, heading: "Training the large model", act: dialogOf("Cancel reservation") },
  { name: "access-requests", who: "admin", path: () => "/access-requests", heading: "Access requests" },
  { name: "deliveries", who: "admin", path: () => "/deliveries", heading: "Deliveries" },
  {
    name: "deliveries-selected",
    who: "admin",
    path: (s) => `/deliveries?delivery=${s.delivery}`,
    heading: "Deliveries",
    act: async (page) => expect(page.getByRole("status").filter({ hasText: "responded with 500" })).toBeVisible(),
  },
  {
    name: "deliveries-request",
    who: "admin",
    path: (s) => `/deliveries?delivery=${s.delivery}`,
    heading: "Deliveries",
    act: async (page) => {
      await page.getByRole("tab", { name: "Request" }).click();
      await expect(page.getByLabel("Request body")).toContainText("reservation_id");
    },
  },
  { name: "deliveries-shortcuts", who: "admin", path: () => "/deliveries", heading: "Deliveries", act: dialogOf("Keyboard shortcuts") },
  { name: "deliveries-none", who: "admin", path: () => "/deliveries?event=reservation.expired", heading: "Deliveries" },
  { name: "deliveries-many", who: "admin", path: () => "/deliveries", heading: "Deliveries", act: dialogOf("Redeliver failed…") },
  { name: "delivery", who: "admin", path: (s) => `/deliveries/${s.delivery}`, heading: /^reservation\./ },
  { name: "webhooks", who: "admin", path: () => "/settings/webhooks", heading: "Webhook Integrations" },
  {
    name: "webhook-new",
    who: "admin",
    path: () => "/settings/webhooks/new",
    heading: "Add New Webhook",
    act: async (page) => {
      await choose(page, "Authentication Method", "OAuth 2.0");
      await choose(page, "Delivery paths", "Custom paths");
      await page.getByText("Advanced: format, filter, headers, retries, limits, responses, signatures").click();
      await page.getByRole("button", { name: "Save Webhook" }).click();
      await expect(page.getByText(/Enter a URL/).first()).toBeVisible();
    },
  },
  { name: "event-catalogue", who: "admin", path: () => "/settings/webhooks/events", heading: "Event catalogue" },
  { name: "webhook", who: "admin", path: (s) => `/settings/webhooks/${s.webhook}`, heading: "GPU Cluster Manager" },
  { name: "webhook-deliveries", who: "admin", path: (s) => `/settings/webhooks/${s.webhook}?tab=deliveries`, heading: "GPU Cluster Manager" },
  {
    name: "webhook-test",
    who: "admin",
    path: (s) => `/settings/webhooks/${s.webhook}`,
    heading: "GPU Cluster Manager",
    act: async (page) => {
      await page.getByRole("button", { name: "Test Webhook" }).click();
      await expect(page.getByText("The receiver responded with 200.")).toBeVisible();
    },
  },
  { name: "webhook-settings", who: "admin", path: (s) => `/settings/webhooks/${s.webhook}?tab=settings`, heading: "GPU Cluster Manager" },
  { name: "webhook-rotate", who: "admin", path: (s) => `/settings/webhooks/${s.webhook}?tab=settings`, heading: "GPU Cluster Manager", act: dialogOf("Rotate secret") },
  { name: "webhook-paused", who: "admin", path: (s) => `/settings/webhooks/${s.paused}`, heading: "Access desk" },
  { name: "catalogue", who: "admin", path: () => "/settings/catalogue", heading: "Catalogue" },
  { name: "catalogue-type", who: "admin", path: () => "/settings/catalogue", heading: "Catalogue", act: dialogOf("Edit GPU cluster") },
  { name: "users", who: "admin", path: () => "/settings/users", heading: "Users" },
  { name: "user-new", who: "admin", path: () => "/settings/users", heading: "Users", act: dialogOf("New user") },
  { name: "alerts-quiet", who: "admin", path: () => "/alerts", heading: "Alerts" },
  { name: "webhook-health-quiet", who: "admin", path: (s) => `/settings/webhooks/${s.webhook}?tab=health`, heading: "GPU Cluster Manager" },
  { name: "alerts-rules", who: "admin", path: () => "/alerts", heading: "Alerts", act: dialogOf("Edit rules") },
  { name: "alerts-channel", who: "admin", path: () => "/alerts", heading: "Alerts", act: dialogOf("Edit operations webhook") },
  {
    name: "webhook-health-rules",
    who: "admin",
    path: (s) => `/settings/webhooks/${s.webhook}?tab=health`,
    heading: "GPU Cluster Manager",
    act: dialogOf("Edit rules"),
  },
  { name: "audit", who: "admin", path: () => "/settings/audit", heading: "Audit log" },
  { name: "audit-none", who: "admin", path: () => "/settings/audit?actor=nobody", heading: "Audit log" },
  { name: "webhook-changes", who: "admin", path: (s) => `/settings/webhooks/${s.webhook}?tab=changes`, heading: "GPU Cluster Manager" },
  { name: "tokens", who: "admin", path: () => "/settings/tokens", heading: "API tokens" },
  { name: "token-new", who: "admin", path: () => "/settings/tokens", heading: "API tokens", act: dialogOf("New token") },
  { name: "account", who: "alice", path: () => "/settings/account", heading: "Account" },
  { name: "notifications", who: "admin", path: () => "/settings/account", heading: "Account", act: dialogOf("Notifications") },
  { name: "not-found", who: "alice", path: () => "/nothing/here", heading: "Page not found" },
];

// The longest file: all workers share it, each with its own data.
test.describe.configure({ mode: "parallel" });

for (const screen of SCREENS) {
  test(screen.name, async ({ scene }) => {
    const page = scene[screen.who];
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.goto(screen.path(scene));
    await expect(page.getByRole("heading", { name: screen.heading, level: 1 })).toBeVisible();
    await expect(page.getByText("Loading", { exact: true })).toHaveCount(0);
    await screen.act?.(page);
    await inspect(page, screen.name);
  });
}

test("menu on a phone", async ({ scene }) => {
  const page = scene.admin;
  await page.setViewportSize({ width: 390, height: 844 });
  await page.goto("/");
  await page.getByRole("button", { name: "Menu" }).click();
  await expect(page.getByRole("link", { name: "Webhook Integrations" })).toBeVisible();
  await page.screenshot({ path: `${folder}/menu-phone.png` });
  await page.getByRole("link", { name: "Webhook Integrations" }).click();
  await expect(page.getByRole("heading", { name: "Webhook Integrations", level: 1 })).toBeVisible();
  await expect(page.getByRole("button", { name: "Menu" })).toHaveAttribute("aria-expanded", "false");
});

test("log-in", async ({ page }) => {
  await page.goto("/login");
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await page.getByRole("button", { name: "Log in", exact: true }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  await inspect(page, "login");
});

test("first set-up", async ({ browser }) => {
  const berth = await Berth.start({ administrator: false });
  try {
    const context = await newContext(browser, berth);
    const page = await context.newPage();
    await page.goto("/");
    await expect(page.getByRole("heading", { name: "Set up Berth" })).toBeVisible();
    await inspect(page, "setup");
    await context.close();
  } finally {
    await berth.stop();
  }
});
