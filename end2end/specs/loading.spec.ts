// The start of the page when its files do not arrive.

import { ALICE, Berth, expect, logIn, newContext, test } from "../fixtures.ts";
import { LoadBalancer } from "../support/load-balancer.ts";

const title = { name: "Berth could not be loaded" };

test("a module that answers 404 shows a message, and reloading starts the page", async ({ pageOf }) => {
  const page = await pageOf("alice");
  await page.route("**/*.wasm", (route) => route.fulfill({ status: 404, contentType: "text/plain", body: "File not found.\n" }));
  await page.goto("/");
  await expect(page.getByRole("heading", title)).toBeVisible();
  await expect(page.getByText("Berth was updated")).toBeVisible();
  await expect(page.locator(".skeleton")).toHaveCount(0);
  await page.unroute("**/*.wasm");
  await page.getByRole("button", { name: "Reload" }).click();
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
});

for (const [name, pattern] of [["script", "**/frontend-*.js"], ["style sheet", "**/base-*.css"]] as const) {
  test(`a ${name} that answers 404 shows a message`, async ({ pageOf }) => {
    const page = await pageOf("alice");
    await page.route(pattern, (route) => route.fulfill({ status: 404, contentType: "text/plain", body: "File not found.\n" }));
    await page.goto("/");
    await expect(page.getByRole("heading", title)).toBeVisible();
    await expect(page.getByRole("button", { name: "Reload" })).toBeVisible();
  });
}

test("a truncated module shows a message", async ({ pageOf }) => {
  const page = await pageOf("alice");
  await page.route("**/*.wasm", (route) => route.fulfill({ contentType: "application/wasm", body: Buffer.from("\0asm\x01\0\0") }));
  await page.goto("/");
  await expect(page.getByRole("heading", title)).toBeVisible();
});

test("a browser without WebAssembly shows a message, also after the log-in", async ({ page }) => {
  await page.addInitScript(() => Reflect.deleteProperty(globalThis, "WebAssembly"));
  await page.goto("/");
  await logIn(page, ALICE);
  await expect(page.getByRole("heading", title)).toBeVisible();
  await expect(page.getByText("does not run WebAssembly")).toBeVisible();
  await expect(page.getByText("Berth was updated")).toBeHidden();
});

test("during an upgrade, the page starts although replicas of another version redirect the requests for its files", async ({ browser }) => {
  const balancer = await LoadBalancer.start(2);
  const berth = await Berth.start({ env: { BERTH_PUBLIC_URL: balancer.url } });
  try {
    balancer.forwardTo(berth.url);
    await berth.prepare();
    berth.url = balancer.url;
    const context = await newContext(browser, berth);
    const page = await context.newPage();
    await page.goto("/");
    await logIn(page, ALICE);
    await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
    // The files of other screens, and the worker of the live feed.
    await page.getByRole("link", { name: "Reservations", exact: true }).click();
    await expect(page.getByRole("heading", { name: "No reservations found" })).toBeVisible();
    await expect(page.getByText("Live", { exact: true }).first()).toBeVisible();
    await expect(page.getByRole("heading", title)).toHaveCount(0);
    for (const ending of [".css", ".js", ".wasm"]) {
      const paths = balancer.redirected.filter((path) => path.endsWith(ending));
      // Each of the two other replicas redirected each file.
      expect(paths.length, ending).toBeGreaterThanOrEqual(2 * new Set(paths).size);
      expect(paths.length, ending).toBeGreaterThan(0);
    }
    await context.close();
  } finally {
    await berth.stop();
    await balancer.stop();
  }
});

test("the browser reports no problem with the page's files", async ({ pageOf }) => {
  const page = await pageOf("alice");
  const session = await page.context().newCDPSession(page);
  const entries: string[] = [];
  session.on("Log.entryAdded", ({ entry }) => entries.push(`${entry.level}: ${entry.text}`));
  session.on("Audits.issueAdded", ({ issue }) => entries.push(JSON.stringify(issue)));
  await session.send("Log.enable");
  await session.send("Audits.enable");
  await page.goto("/");
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
  expect(entries).toEqual([]);
  expect(await page.content()).not.toContain("integrity");
});
