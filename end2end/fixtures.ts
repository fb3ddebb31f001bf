import { type Browser, type Locator, type Page, test as base, expect } from "@playwright/test";
import type { Page as ApiPage, Webhook } from "./support/api.ts";
import { ADMIN, ALICE, BOB, Berth } from "./support/berth.ts";
import { type Behaviour, OddReceiver } from "./support/odd.ts";

export { expect };
export { ADMIN, ALICE, BOB, Berth };

const PASSWORDS = new Map([ADMIN, ALICE, BOB].map((who) => [who.username, who.password]));

interface ForTest {
  /** A page with a session of its own. */
  pageOf: (username: string) => Promise<Page>;
  /** A receiver inside the test, gone with it. */
  receiver: (behaviour?: Behaviour, tls?: boolean) => Promise<OddReceiver>;
  tidy: void;
}

/** The tests' `test`: each worker has a server, each test only its own webhooks. */
export const test = base.extend<ForTest, { berth: Berth }>({
  berth: [
    async ({}, use) => {
      const berth = await Berth.start();
      try {
        await berth.prepare();
        await use(berth);
      } finally {
        await berth.stop();
      }
    },
    { scope: "worker", timeout: 120_000 },
  ],
  baseURL: async ({ berth }, use) => use(berth.url),
  page: async ({ page }, use) => {
    const check = watch(page);
    await use(page);
    check();
  },
  pageOf: async ({ browser, berth }, use) => {
    const open: { page: Page; check: () => void }[] = [];
    await use(async (username) => {
      const page = await signedIn(browser, berth, username);
      open.push({ page, check: watch(page) });
      return page;
    });
    for (const { page, check } of open) {
      check();
      await page.context().close();
    }
  },
  receiver: async ({}, use) => {
    const started: OddReceiver[] = [];
    await use(async (behaviour, tls) => {
      const receiver = await OddReceiver.start(behaviour, tls);
      started.push(receiver);
      return receiver;
    });
    for (const receiver of started) await receiver.stop();
  },
  tidy: [
    async ({ berth }, use, info) => {
      await use();
      if (info.status !== info.expectedStatus) {
        await info.attach("server log", { body: berth.tail(), contentType: "text/plain" });
      }
      // A webhook that stayed would be told of the next test's reservations.
      const webhooks = await berth.api.get<ApiPage<Webhook>>("/webhooks?limit=200");
      for (const webhook of webhooks.items) await berth.api.call("DELETE", `/webhooks/${webhook.id}`);
    },
    { auto: true },
  ],
});

/** A page in a context of its own, logged in by the API. */
export async function signedIn(browser: Browser, berth: Berth, username: string): Promise<Page> {
  const context = await browser.newContext({ baseURL: berth.url });
  const credentials = { username, password: PASSWORDS.get(username) };
  const answer = await context.request.post("/api/v1/session", { data: credentials });
  expect(answer.status(), await answer.text()).toBe(200);
  return context.newPage();
}

/** Watches for what must never happen in a page: panics, uncaught errors, breaches of the content policy. */
export function watch(page: Page): () => void {
  const seen: string[] = [];
  page.on("pageerror", (error) => seen.push(String(error)));
  page.on("console", (message) => {
    // Refusals are part of many tests; the browser reports them by itself.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) seen.push(message.text());
  });
  return () => expect(seen, "errors in the page").toEqual([]);
}

/** The card that shows how provisioning stands, by its heading. */
export function provisioning(page: Page): Locator {
  return page.getByRole("heading", { name: /^Provisioning/ });
}

/** The rows of a table of deliveries. */
export function deliveryRows(page: Page): Locator {
  return page.getByRole("region", { name: "Deliveries" }).locator("tbody").getByRole("row");
}

/** Chooses one of the cards under `legend`. */
export async function choose(page: Page, legend: string, card: string): Promise<void> {
  await page.getByRole("group", { name: legend }).getByRole("radio", { name: new RegExp(`^${card}`) }).check();
}

/** Logs in by the form, as people do. */
export async function logIn(page: Page, who: { username: string; password: string }): Promise<void> {
  await page.getByLabel("Username").fill(who.username);
  await page.getByLabel("Password").fill(who.password);
  await page.getByRole("button", { name: "Log in" }).click();
}

/** A key that `ssh-keygen -t ed25519` made; its private half was thrown away. */
export const SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBaJvV++C3b0lUVfjp8uNVmLBBjjHk8v3vYtJ2vcfQOg alice@laptop";
