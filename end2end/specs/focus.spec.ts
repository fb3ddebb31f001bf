// The keyboard focus never falls to the body: after dialogs, inline forms, and changed lists.

import type { Page } from "@playwright/test";
import { expect, test } from "../fixtures.ts";
import { responds } from "../support/test-receiver.ts";

/** The focused element: its tag and name. */
const focused = (page: Page) =>
  page.evaluate(() => {
    const element = document.activeElement;
    if (element === null || element === document.body) return "body";
    return `${element.tagName.toLowerCase()} ${element.getAttribute("aria-label") ?? element.textContent?.trim() ?? ""}`.trim();
  });

/** Opens a dialog with the keyboard, cancels it, and checks where the focus is. */
async function openAndCancel(page: Page, opener: string, cancel: string, inside: RegExp): Promise<void> {
  const button = page.getByRole("button", { name: opener, exact: true }).first();
  for (const leave of ["click", "Escape"] as const) {
    await button.focus();
    await page.keyboard.press("Enter");
    await expect(page.getByRole("dialog")).toBeVisible();
    await expect.poll(() => focused(page), { message: `${opener}: after opening` }).toMatch(inside);
    if (leave === "Escape") await page.keyboard.press("Escape");
    else await page.getByRole("dialog").getByRole("button", { name: cancel, exact: true }).click();
    await expect(page.getByRole("dialog")).toBeHidden();
    await expect(button, `${opener}: after ${leave}`).toBeFocused();
  }
}

test("each dialog takes the focus and returns it", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(500));
  const webhook = await berth.api.webhook({ name: "Focus", endpoint_url: service.endpoint, retry: { waits: [] } });
  const resource = await berth.resource({ name: "Focus cluster" });
  const reservation = await berth.api.reserve(resource.id, 2);
  await berth.token("admin", "focus token", "read");
  const page = await pageOf("admin");
  const cases: [string, string, string, RegExp][] = [
    [`/reservations/${reservation.id}`, "Modify", "Cancel", /^(input|h2 Modify)/],
    [`/reservations/${reservation.id}`, "Cancel reservation", "Keep reservation", /^input/],
    ["/deliveries", "Redeliver failed…", "Cancel", /^h2 Redeliver/],
    [`/settings/webhooks/${webhook.id}`, "Test Webhook", "Close", /^(select|h2 Test)/],
    [`/settings/webhooks/${webhook.id}?tab=settings`, "Rotate secret", "Cancel", /^(input|h2 Rotate)/],
    [`/settings/webhooks/${webhook.id}?tab=settings`, "Delete webhook", "Keep webhook", /^h2 Delete/],
    ["/settings/catalogue", "New type", "Cancel", /^input/],
    ["/settings/catalogue", "Edit GPU cluster", "Cancel", /^input/],
    ["/settings/catalogue", "Delete GPU cluster", "Cancel", /^h2 Delete/],
    ["/settings/catalogue", "New resource", "Cancel", /^input/],
    ["/settings/catalogue", "Edit Focus cluster", "Cancel", /^input/],
    ["/settings/catalogue", "Delete Focus cluster", "Cancel", /^h2 Delete/],
    ["/settings/users", "New user", "Cancel", /^input/],
    ["/settings/users", "Edit alice", "Cancel", /^input/],
    ["/settings/tokens", "New token", "Cancel", /^input/],
    ["/settings/tokens", "Revoke focus token", "Keep token", /^h2 Revoke/],
  ];
  for (const [path, opener, cancel, inside] of cases) {
    await page.goto(path);
    await openAndCancel(page, opener, cancel, inside);
  }
  const bell = page.getByRole("button", { name: /^Notifications/ });
  await bell.click();
  await expect.poll(() => focused(page)).toBe("h2 Notifications");
  await page.keyboard.press("Escape");
  await expect(bell).toBeFocused();
});

test("the focus returns to the row whose dialog changed the list", async ({ berth, pageOf }) => {
  await berth.resource({ name: "Renamed cluster" });
  const page = await pageOf("admin");
  await page.goto("/settings/catalogue");
  const edit = page.getByRole("button", { name: "Edit Renamed cluster" });
  await edit.click();
  await page.getByRole("dialog").getByLabel("Location").fill("Hall 2");
  const fetched = page.waitForResponse("**/rpc/list-resources");
  await page.keyboard.press("Enter");
  await fetched;
  await expect(page.getByRole("row").filter({ hasText: "Hall 2" })).toBeVisible();
  await expect(edit).toBeFocused();
});

test("the focus stays near a control that disappears", async ({ berth, pageOf, receiver }) => {
  const service = await receiver(responds(200));
  const webhook = await berth.api.webhook({ name: "Focus queue", endpoint_url: service.endpoint });
  const resource = await berth.resource({ name: "Focus pilot", status: "restricted" });
  await berth.api.post(`/webhooks/${webhook.id}/pause`);
  const admin = await pageOf("admin");
  const alice = await pageOf("alice");

  await alice.goto(`/reserve?resource=${resource.id}`);
  await alice.getByLabel("Reason").fill("For the focus");
  await alice.getByRole("button", { name: "Request access" }).focus();
  await alice.keyboard.press("Enter");
  await expect(alice.getByText("Request sent.")).toBeVisible();
  await expect.poll(() => focused(alice)).toBe("h2 Access required");

  await admin.goto("/access-requests");
  const request = admin.getByRole("row").filter({ hasText: "Focus pilot" });
  await request.getByRole("button", { name: "Approve request from alice" }).focus();
  await admin.keyboard.press("Enter");
  await expect(request).toHaveCount(0);
  await expect.poll(() => focused(admin)).not.toBe("body");

  await admin.goto("/deliveries?status=failed");
  await admin.getByRole("button", { name: "Clear filters" }).focus();
  await admin.keyboard.press("Enter");
  await expect(admin.getByRole("button", { name: "Clear filters" })).toHaveCount(0);
  await expect.poll(() => focused(admin)).toBe("h1 Deliveries");

  await admin.goto(`/settings/webhooks/${webhook.id}`);
  await admin.getByRole("button", { name: "Resume deliveries" }).focus();
  await admin.keyboard.press("Enter");
  await expect(admin.getByRole("button", { name: "Resume deliveries" })).toHaveCount(0);
  await expect.poll(() => focused(admin)).toBe("h1 Focus queue");

  await admin.goto("/settings/webhooks/new");
  await admin.getByText("Advanced: format, filter, headers, retries, limits, responses, signatures").click();
  await admin.getByRole("button", { name: "Add header" }).click();
  await admin.getByRole("button", { name: /Remove/ }).focus();
  await admin.keyboard.press("Enter");
  await expect(admin.getByRole("button", { name: /Remove/ })).toHaveCount(0);
  expect(await focused(admin)).not.toBe("body");
});

test("the title of a page that never appears is not searched without end", async ({ pageOf }) => {
  const page = await pageOf("alice");
  await page.goto("/");
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
  await page.route("**/rpc/get-reservation", () => {});
  await page.evaluate(() => {
    const count = { frames: 0 };
    Object.assign(globalThis, { count });
    const original = globalThis.requestAnimationFrame;
    globalThis.requestAnimationFrame = (callback) => {
      count.frames += 1;
      return original(callback);
    };
    // The router follows links of the page.
    const link = document.createElement("a");
    link.href = "/reservations/rsv-00000000000000000000000000";
    document.querySelector("#main")?.append(link);
    link.click();
  });
  await expect(page.getByText("Loading", { exact: true })).toBeAttached();
  const frames = () => page.evaluate(() => (globalThis as unknown as { count: { frames: number } }).count.frames);
  const before = await frames();
  await page.evaluate(async () => {
    for (let n = 0; n < 30; n += 1) await new Promise((resolve) => setTimeout(resolve, 16));
  });
  expect(await frames()).toBe(before);
});
