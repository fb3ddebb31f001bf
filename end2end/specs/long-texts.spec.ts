// Every text that users enter can be long and without spaces. No screen becomes wider than the window.

import type { Page } from "@playwright/test";
import { Berth, SSH_KEY, expect, logInByApi, setVisibility, test } from "../fixtures.ts";
import { TestReceiver, responds } from "../support/test-receiver.ts";

const long = (length: number) => "Wörterbuchverlagsgesellschaft".repeat(Math.ceil(length / 29)).slice(0, length);
const ascii = (length: number) => "abcdefghij".repeat(Math.ceil(length / 10)).slice(0, length);

/** The texts that reach out of the window, or out of their box, unless the box scrolls or cuts them off. */
function findOverflow(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    const excess = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    if (excess > 0) found.push(`the page is ${excess} px too wide`);
    const contains = (element: Element) => {
      for (let box: Element | null = element; box !== null; box = box.parentElement) {
        if (getComputedStyle(box).overflowX !== "visible") return true;
      }
      return false;
    };
    for (const element of document.querySelectorAll("body *")) {
      const box = element.getBoundingClientRect();
      if (box.width > 0 && box.right > innerWidth + 1 && !contains(element)) {
        found.push(`${element.tagName} ${element.className}: ${(element.textContent ?? "").slice(0, 40)}`);
      }
    }
    return found.slice(0, 5);
  });
}

test("long texts stay inside the window on every screen", async ({ browser }) => {
  test.setTimeout(240_000);
  const berth = await Berth.start();
  const service = await TestReceiver.start(
    responds(200, {
      status: "success",
      message: long(400),
      details: { [ascii(60)]: long(200), access_info: { ip_address: ascii(100), port: 22, username: ascii(100), connection_command: `ssh ${ascii(300)}` } },
    }),
  );
  try {
    await berth.prepare();
    const { api } = berth;
    const user = { username: ascii(32), password: "staple battery horse" };
    await api.post("/users", { ...user, email: `${ascii(60)}@${ascii(60)}.example`, role: "administrator" });
    const slug = ascii(40);
    await api.post("/resource-types", {
      slug,
      name: long(80),
      config_schema: { type: "object", properties: { purpose: { type: "string", title: long(100), maxLength: 200 } } },
    });
    const made = await api.post<{ id: number }>("/resources", { name: long(100), resource_type: slug, location: long(100), specs: long(300) });
    const limited = await api.post<{ id: number }>("/resources", { name: long(90), resource_type: slug, status: "restricted" });
    const webhook = await api.webhook({
      name: long(100),
      endpoint_url: `${service.endpoint}/${ascii(300)}`,
      resource_type: slug,
      headers: [{ name: `X-${ascii(60)}`, value: ascii(400) }],
      auth: { method: "api_key", header: `X-${ascii(40)}`, key: ascii(100) },
    });
    await api.webhook({ name: long(99), endpoint_url: "http://127.0.0.1:9/", resource_type: slug, retry: { waits: [] }, provisions: false });
    const owner = await berth.as(user.username);
    const title = long(120);
    const reservation = await owner.reserve(made.id, 1, { title, user_ssh_key: `${SSH_KEY}${ascii(200)}`, additional_config: { purpose: long(200) } });
    const cancelled = await owner.reserve(made.id, 9, { title: long(200) });
    await owner.post(`/reservations/${cancelled.id}/cancel`, { reason: long(300) });
    await (await berth.as("alice")).post("/access-requests", { resource_id: limited.id, reason: long(400) });
    await berth.token(user.username, long(80), "read");
    await expect.poll(async () => (await api.deliveries("status=failed")).length, { timeout: 30_000 }).toBeGreaterThan(0);
    const [delivery] = await api.deliveries("status=failed");
    const page = await logInByApi(browser, berth, user.username, {}, user.password);
    const screens: [string, string?][] = [
      ["/"],
      [`/reserve?resource=${made.id}`],
      [`/reserve?resource=${limited.id}`],
      ["/reservations?whose=all&status="],
      [`/reservations/${reservation.id}`],
      [`/reservations/${reservation.id}`, "Modify"],
      [`/reservations/${reservation.id}`, "Cancel reservation"],
      [`/reservations/${cancelled.id}`],
      ["/access-requests"],
      ["/deliveries"],
      [`/deliveries/${delivery?.id}`],
      ["/settings/webhooks"],
      ["/settings/webhooks/new"],
      [`/settings/webhooks/${webhook.id}`],
      [`/settings/webhooks/${webhook.id}`, "Test Webhook"],
      [`/settings/webhooks/${webhook.id}?tab=deliveries`],
      [`/settings/webhooks/${webhook.id}?tab=settings`],
      [`/settings/webhooks/${webhook.id}?tab=settings`, "Delete webhook"],
      [`/settings/webhooks/${webhook.id}?tab=health`],
      [`/settings/webhooks/${webhook.id}?tab=changes`],
      ["/settings/audit"],
      ["/settings/catalogue"],
      ["/settings/catalogue", `Edit ${long(80)}`],
      ["/settings/catalogue", `Delete ${long(100)}`],
      ["/settings/users"],
      ["/settings/users", `Edit ${user.username}`],
      ["/settings/tokens"],
      ["/settings/tokens", `Revoke ${long(80)}`],
      ["/settings/account"],
      ["/settings/account", "Notifications"],
    ];
    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 844 });
      for (const [path, button] of screens) {
        await page.goto(path);
        await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
        await expect(page.getByText("Loading", { exact: true })).toHaveCount(0);
        if (button !== undefined) {
          await page.getByRole("button", { name: button === "Notifications" ? /^Notifications/ : button }).first().click();
          await expect(page.getByRole("dialog").getByRole("heading").first()).toBeVisible();
        }
        expect(await findOverflow(page), `${path} ${button ?? ""} at ${width} px`).toEqual([]);
      }
    }
    await page.context().close();
  } finally {
    await service.stop();
    await berth.stop();
  }
});

test("the header stays inside a narrow window in each state of the live updates", async ({ berth, browser }) => {
  const page = await logInByApi(browser, berth, "alice");
  const badge = page.locator(".topbar").getByRole("status");
  const checkWidths = async (state: string) => {
    for (const width of [390, 320]) {
      await page.setViewportSize({ width, height: 844 });
      await expect(badge).toHaveText(state);
      expect(await findOverflow(page), `${state} at ${width} px`).toEqual([]);
    }
  };
  // A hidden page opens no feed, so it stays at "Connecting".
  await page.addInitScript(() => Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true }));
  await page.goto("/reservations");
  await expect(page.getByRole("heading", { name: "Reservations", level: 1 })).toBeVisible();
  await checkWidths("Connecting");
  await setVisibility(page, "visible");
  await checkWidths("Live");
  await page.context().setOffline(true);
  await checkWidths("Reconnecting");
  await page.context().setOffline(false);
  await checkWidths("Live");
  await page.context().clearCookies();
  await page.getByLabel("Status").selectOption("cancelled");
  await page.getByRole("dialog", { name: "Log in again" }).getByRole("button", { name: "Close" }).click();
  await checkWidths("Session expired");
  await expect(page.getByRole("banner").getByRole("button", { name: "Log in", exact: true })).toBeVisible();
  await expect(page.getByRole("banner").getByRole("button", { name: "Log out" })).toHaveCount(0);
  await page.context().close();
});
