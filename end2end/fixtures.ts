import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  type Locator,
  type Page,
  test as base,
  expect,
} from "@playwright/test";
import type { Page as ApiPage, Webhook } from "./support/api.ts";
import { ADMIN, ALICE, BOB, Berth } from "./support/berth.ts";
import { type Behaviour, type MutualTls, TestReceiver } from "./support/test-receiver.ts";

export { expect };
export { ADMIN, ALICE, BOB, Berth };

const PASSWORDS = new Map([ADMIN, ALICE, BOB].map((who) => [who.username, who.password]));

interface TestFixtures {
  /** Opens a page with its own session. */
  pageOf: (username: string) => Promise<Page>;
  /** Starts a receiver in the test, which stops with the test. */
  receiver: (behaviour?: Behaviour, tls?: boolean | MutualTls) => Promise<TestReceiver>;
  cleanUp: void;
  quietConsole: void;
}

/** Starts a server with the users and the resource type of the tests, and stops it after use. */
export async function withBerth(use: (berth: Berth) => Promise<void>): Promise<void> {
  const berth = await Berth.start();
  try {
    await berth.prepare();
    await use(berth);
  } finally {
    await berth.stop();
  }
}

/** The `test` of all specs. Each worker has its own server, each test its own webhooks. */
export const test = base.extend<TestFixtures, { berth: Berth }>({
  berth: [async ({}, use) => withBerth(use), { scope: "worker", timeout: 120_000 }],
  baseURL: async ({ berth }, use) => use(berth.url),
  context: async ({ context }, use) => {
    watchConsole(context);
    await use(context);
  },
  pageOf: async ({ browser, berth }, use) => {
    const pages: Page[] = [];
    await use(async (username) => {
      const page = await logInByApi(browser, berth, username);
      pages.push(page);
      return page;
    });
    for (const page of pages) await page.context().close();
  },
  receiver: async ({}, use) => {
    const started: TestReceiver[] = [];
    await use(async (behaviour, tls) => {
      const receiver = await TestReceiver.start(behaviour, tls);
      started.push(receiver);
      return receiver;
    });
    for (const receiver of started) await receiver.stop();
  },
  cleanUp: [
    async ({ berth }, use, info) => {
      await use();
      if (info.status !== info.expectedStatus) {
        await info.attach("server log", { body: berth.tail(), contentType: "text/plain" });
      }
      // A remaining webhook would receive the reservations of the next test.
      const webhooks = await berth.api.get<ApiPage<Webhook>>("/webhooks?limit=200");
      for (const webhook of webhooks.items) await berth.api.call("DELETE", `/webhooks/${webhook.id}`);
    },
    { auto: true },
  ],
  quietConsole: [
    async ({}, use) => {
      consoleMessages.length = 0;
      await use();
      expect(consoleMessages, "warnings and errors in the browser's console").toEqual([]);
    },
    { auto: true },
  ],
});

/** The warnings and errors of all pages of the running test. A worker runs one test at a time. */
const consoleMessages: string[] = [];

/** Messages of the browser that do not indicate a fault of the page. */
const ALLOWED_MESSAGES = [
  // The browser reports each response with an error status. Many tests cause such responses, and some stop the server.
  /^Failed to load resource: /,
  // The loader of areas reports a failed load. The page shows it with a remedy (areas.spec.ts).
  /^TypeError: Failed to (fetch\n\s+at (\S+ \()?\S+\/areas-|execute 'compile' on 'WebAssembly')/,
  /^Error: \d+ for \S+\/areas?_/,
  // The page cannot be started, and shows a message (loading.spec.ts).
  /^Berth could not be loaded: /,
  /\.wasm was preloaded using link preload but not used/,
];

/** Collects warnings, errors, panics and violations of the content security policy. They fail the test. */
function watchConsole(context: BrowserContext): void {
  context.on("weberror", (error) => consoleMessages.push(String(error.error())));
  context.on("console", (message) => {
    const isFault = message.type() === "warning" || message.type() === "error";
    if (isFault && !ALLOWED_MESSAGES.some((allowed) => allowed.test(message.text()))) {
      consoleMessages.push(`${message.page()?.url()}: ${message.text()}`);
    }
  });
}

/** Opens a browser context, whose console must stay quiet. Its locale and other options can differ from the default. */
export async function newContext(browser: Browser, berth: Berth, options: BrowserContextOptions = {}): Promise<BrowserContext> {
  const context = await browser.newContext({ baseURL: berth.url, ...options });
  watchConsole(context);
  return context;
}

/** Opens a page in its own context, logged in by the API. */
export async function logInByApi(
  browser: Browser,
  berth: Berth,
  username: string,
  options: BrowserContextOptions = {},
  password = PASSWORDS.get(username),
): Promise<Page> {
  const context = await newContext(browser, berth, options);
  const credentials = { username, password };
  const response = await context.request.post("/api/v1/session", { data: credentials });
  expect(response.status(), await response.text()).toBe(200);
  return context.newPage();
}

/** Hides or shows a page for its scripts. Pages of a headless browser are always visible. */
export async function setVisibility(page: Page, state: "hidden" | "visible"): Promise<void> {
  await page.evaluate((state) => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    Object.defineProperty(document, "hidden", { value: state === "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  }, state);
}

/** The heading of the card that shows the provisioning. */
export function provisioning(page: Page): Locator {
  return page.getByRole("heading", { name: /^Provisioning/ });
}

/** The rows of a table of deliveries. */
export function deliveryRows(page: Page): Locator {
  return page.getByRole("region", { name: "Deliveries" }).locator("tbody").getByRole("row");
}

/** The pane of the selected delivery. */
export function deliveryPane(page: Page): Locator {
  return page.getByRole("region", { name: "Delivery", exact: true });
}

/** Selects a card of the group `legend`. */
export async function choose(page: Page, legend: string, card: string): Promise<void> {
  await page.getByRole("group", { name: legend }).getByRole("radio", { name: new RegExp(`^${card}`) }).check();
}

/** Sends a test event from the page of a webhook. Returns the dialog with the exchange. */
export async function testWebhook(page: Page, webhook: { id: number }): Promise<Locator> {
  await page.goto(`/settings/webhooks/${webhook.id}`);
  await page.getByRole("button", { name: "Test Webhook" }).click();
  return page.getByRole("dialog", { name: /^Test / });
}

/** Copies a new secret from its dialog, and closes it. */
export async function copySecret(page: Page, label: "Signing secret" | "Token"): Promise<string> {
  const dialog = page.getByRole("dialog").filter({ hasText: "It is not shown again." });
  const secret = await dialog.getByLabel(label, { exact: true }).innerText();
  await dialog.getByRole("button", { name: "Copy" }).click();
  await dialog.getByRole("button", { name: "Done" }).click();
  await expect(dialog).toBeHidden();
  return secret;
}

/** Logs in with the form. */
export async function logIn(page: Page, who: { username: string; password: string }): Promise<void> {
  await page.getByLabel("Username").fill(who.username);
  await page.getByLabel("Password").fill(who.password);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
}

/** A key from `ssh-keygen -t ed25519`, whose private half was deleted. */
export const SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBaJvV++C3b0lUVfjp8uNVmLBBjjHk8v3vYtJ2vcfQOg alice@laptop";
