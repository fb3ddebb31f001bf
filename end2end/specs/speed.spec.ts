// The time until the page is usable on a slow connection. It is recorded, not asserted, because it depends on the machine and
// on the build: BERTH_BINARY=target/release/berth tests the page of `cargo xtask build --release`.

import { existsSync, readFileSync } from "node:fs";
import type { Page, TestInfo } from "@playwright/test";
import { ALICE, expect, test } from "../fixtures.ts";
import { root } from "../support/paths.ts";

// The usual "slow 4G" profile: 1.6 Mbit/s down, 750 kbit/s up, 150 ms.
const SLOW_4G = { offline: false, latency: 150, downloadThroughput: (1_600 * 1_024) / 8, uploadThroughput: (750 * 1_024) / 8 };

/** Slows the connection down. Returns a function for the number of received bytes. */
async function throttle(page: Page): Promise<() => number> {
  const client = await page.context().newCDPSession(page);
  await client.send("Network.enable");
  await client.send("Network.emulateNetworkConditions", SLOW_4G);
  let bytes = 0;
  client.on("Network.loadingFinished", (event) => {
    bytes += event.encodedDataLength;
  });
  return () => bytes;
}

function record(info: TestInfo, what: string, took: number, bytes: number): void {
  const stamp = `${root}/target/page.stamp`;
  const profile = existsSync(stamp) ? readFileSync(stamp, "utf8").split(" ")[0] : "unknown profile";
  const description = `${what} after ${took} ms with ${Math.round(bytes / 1_024)} KiB over the connection (${profile}; wanted of wasm-release: 1500 ms)`;
  info.annotations.push({ type: "speed", description });
}

// A development build of the page is several megabytes.
test.describe.configure({ timeout: 300_000 });

test("time until usable on slow 4G, first visit", async ({ page }, info) => {
  const bytes = await throttle(page);
  const begun = Date.now();
  await page.goto("/", { waitUntil: "commit", timeout: 240_000 });
  const field = page.getByLabel("Username");
  await field.fill(ALICE.username, { timeout: 240_000 });
  await page.getByLabel("Password").fill(ALICE.password);
  await page.getByRole("button", { name: "Log in", exact: true }).click({ trial: true });
  const filled = Date.now() - begun;
  record(info, "the log-in is usable", filled, bytes());
  // The log-in works before the app is loaded.
  await page.getByRole("button", { name: "Log in", exact: true }).click({ noWaitAfter: true });
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible({ timeout: 240_000 });
  record(info, "logged in, the first page is visible", Date.now() - begun, bytes());
});

test("time until usable on slow 4G, from the second visit on", async ({ pageOf }, info) => {
  const page = await pageOf("alice");
  await page.goto("/");
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible();
  await page.goto("about:blank");
  const bytes = await throttle(page);
  const begun = Date.now();
  await page.goto("/", { waitUntil: "commit", timeout: 240_000 });
  await expect(page.getByRole("heading", { name: "Hello, alice" })).toBeVisible({ timeout: 240_000 });
  record(info, "the first page is visible", Date.now() - begun, bytes());
});
