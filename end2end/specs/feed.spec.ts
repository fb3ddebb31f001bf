// When the live feed connects again after a refusal. The script runs without a browser and with a controlled clock.

import { readFileSync } from "node:fs";
import { createContext, runInContext } from "node:vm";
import { expect, test } from "@playwright/test";

const FEED = readFileSync(new URL("../../frontend/feed.js", import.meta.url), "utf8");

/** Runs the script with one page and one refusal. Returns the delay before the next connection. */
async function delayAfter(refusal: () => unknown, random: number): Promise<number> {
  const messages: string[] = [];
  const delays: number[] = [];
  const own: { onmessage?: (event: { data: string }) => void; postMessage(message: string[]): void } = {
    postMessage: ([name]) => messages.push(name ?? ""),
  };
  const context = createContext({
    self: own,
    AbortController,
    Date,
    fetch: async () => refusal(),
    Math: Object.assign(Object.create(Math), { random: () => random }),
    setInterval: () => 0,
    clearTimeout: () => {},
    setTimeout: (_: unknown, ms: number) => delays.push(ms),
  });
  runInContext(FEED, context);
  own.onmessage?.({ data: "want" });
  await expect.poll(() => messages).toContain("reconnecting");
  // The first timer is the limit of the connection attempt.
  expect(delays).toHaveLength(2);
  return delays[1] ?? Number.NaN;
}

function refused(status: number, retryAfter?: string): () => unknown {
  const headers = new Headers(retryAfter === undefined ? {} : { "retry-after": retryAfter });
  return () => ({ ok: false, status, headers });
}

const inTenSeconds = () => new Date(Date.now() + 10_000).toUTCString();

for (const { name, refusal, atLeast } of [
  { name: "429 with seconds", refusal: () => refused(429, "2"), atLeast: 2_000 },
  { name: "503 with a date", refusal: () => refused(503, inTenSeconds()), atLeast: 8_000 },
  { name: "503 with an invalid value", refusal: () => refused(503, "soon"), atLeast: 0 },
  { name: "503 without a value", refusal: () => refused(503), atLeast: 0 },
  { name: "a lost connection", refusal: () => () => Promise.reject(new TypeError("failed to fetch")), atLeast: 0 },
]) {
  test(`the feed waits for a random time after ${name}`, async () => {
    const [first, last] = [await delayAfter(refusal(), 0), await delayAfter(refusal(), 0.999)];
    expect(first).toBeGreaterThanOrEqual(atLeast + 200);
    // Pages that lost the connection at the same time connect again within two seconds, not at once.
    expect(last - first).toBeGreaterThan(900);
    expect(last).toBeLessThan(atLeast + 2_000 + 2_200);
  });
}

test("the feed does not wait longer than five minutes", async () => {
  expect(await delayAfter(refused(503, "999999999"), 0)).toBe(300_200);
});
