// How soon the page can be used over a slow line. Recorded, not asserted: it depends on the machine and on how the page
// was built (`cargo xtask build --release` makes the small one; BERTH_BINARY=target/release/berth tests it).

import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "../fixtures.ts";
import { root } from "../support/paths.ts";

// The usual "slow 4G" profile: 1.6 Mbit/s down, 750 kbit/s up, 150 ms.
const SLOW_4G = { offline: false, latency: 150, downloadThroughput: (1_600 * 1_024) / 8, uploadThroughput: (750 * 1_024) / 8 };

test("time until usable on slow 4G", async ({ page }, info) => {
  // A development build of the page is several megabytes.
  test.setTimeout(300_000);
  const client = await page.context().newCDPSession(page);
  await client.send("Network.enable");
  await client.send("Network.setCacheDisabled", { cacheDisabled: true });
  await client.send("Network.emulateNetworkConditions", SLOW_4G);
  let bytes = 0;
  client.on("Network.loadingFinished", (event) => {
    bytes += event.encodedDataLength;
  });
  const begun = Date.now();
  await page.goto("/login", { waitUntil: "commit", timeout: 240_000 });
  const field = page.getByLabel("Username");
  await expect(field).toBeVisible({ timeout: 240_000 });
  await field.fill("alice");
  await expect(field).toHaveValue("alice");
  const took = Date.now() - begun;
  const stamp = `${root}/target/page.stamp`;
  const profile = existsSync(stamp) ? readFileSync(stamp, "utf8").split(" ")[0] : "unknown profile";
  const description = `usable after ${took} ms with ${Math.round(bytes / 1_024)} KiB over the line (${profile}; wanted of wasm-release: 1500 ms)`;
  info.annotations.push({ type: "speed", description });
});
