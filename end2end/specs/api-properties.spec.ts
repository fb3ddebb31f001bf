// Requests that are generated from the OpenAPI document, valid and invalid ones. Every response must be documented, match
// its schema and be no server error; invalid requests must be rejected. The test needs no browser.

import { join } from "node:path";
import { Berth, expect, test } from "../fixtures.ts";
import { WITHOUT_TOOLS, hasApiTools, runApiTool } from "../support/api-tools.ts";
import { root } from "../support/paths.ts";

/** The time budget in seconds. */
const SECONDS = 60;

/** Operations that the tester leaves out: an endless response, and the revocation of its own token. */
const EXCLUDED = ["live_stream", "tokens_revoke_token"];

/** A schema cannot state all rules, e.g. that the end is after the start, so valid requests may be rejected. */
const EXCLUDED_CHECKS = ["positive_data_acceptance"];

test("generated requests get documented responses", async () => {
  test.skip(!hasApiTools, WITHOUT_TOOLS);
  test.setTimeout((SECONDS + 120) * 1_000);
  // A server of its own: the tester changes and deletes everything that it finds.
  const berth = await Berth.start();
  try {
    await berth.prepare();
    await berth.resource();
    const log = await runApiTool(
      "schemathesis",
      [
        "run",
        join(root, "docs", "openapi.json"),
        `--url=${berth.url}`,
        `--header=Authorization: Bearer ${berth.api.token}`,
        ...EXCLUDED.map((id) => `--exclude-operation-id=${id}`),
        `--exclude-checks=${EXCLUDED_CHECKS.join(",")}`,
        "--phases=examples,coverage,fuzzing",
        "--max-examples=10",
        `--max-time=${SECONDS}`,
        "--generation-deterministic",
        "--continue-on-failure",
        "--warnings=off",
        "--no-color",
      ],
      berth.folder,
      {},
      SECONDS + 60,
    );
    expect(Number(/(\d+) generated/.exec(log)?.[1]), log).toBeGreaterThan(1_000);
  } finally {
    await berth.stop();
  }
});
