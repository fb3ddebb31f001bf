// Clients that are generated from the OpenAPI document drive the story of the guide: register and test a webhook, reserve,
// modify, cancel, look at the deliveries, rotate the secret. The tests need no browser.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import createClient from "openapi-fetch";
import { SSH_KEY, expect, test } from "../fixtures.ts";
import type { components, paths } from "../generated/openapi.ts";
import { nextHour } from "../support/api.ts";
import { WITHOUT_TOOLS, hasApiTools, runApiTool } from "../support/api-tools.ts";
import { freePort } from "../support/child.ts";
import { root } from "../support/paths.ts";
import { python } from "../support/receivers.ts";

type Reservation = components["schemas"]["ReservationDetail"];

/** The body of a successful response. */
async function ok<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await call;
  if (data === undefined) throw new Error(`${response.status} ${response.url}: ${JSON.stringify(error)}`);
  return data;
}

test("a generated TypeScript client drives the story of the guide", async ({ berth }) => {
  const clientOf = (token: string) =>
    createClient<paths>({ baseUrl: berth.url, headers: { authorization: `Bearer ${token}` } });
  const admin = clientOf(berth.api.token);
  const alice = clientOf(await berth.token("alice"));
  const resource = await ok(
    admin.POST("/api/v1/resources", { body: { name: "TypeScript cluster", resource_type: "gpu-cluster" } }),
  );

  // Register.
  const port = await freePort();
  const webhook = await ok(
    admin.POST("/api/v1/webhooks", {
      params: { header: { "Idempotency-Key": "typescript-story" } },
      body: {
        name: "GPU Cluster Manager",
        endpoint_url: `http://127.0.0.1:${port}/api/webhook`,
        resource_type: "gpu-cluster",
        events: ["reservation.created", "reservation.updated", "reservation.cancelled"],
        auth: { method: "api_key", header: "X-API-Key", key: "the-key-of-your-service" },
      },
    }),
  );
  const service = await python.start(port, webhook.secret);
  try {
    // Test.
    const path = { id: webhook.id };
    const attempt = await ok(admin.POST("/api/v1/webhooks/{id}/test", { params: { path }, body: {} }));
    expect(attempt.outcome, JSON.stringify(attempt.diagnosis)).toBe("succeeded");

    // Reserve.
    const made = await ok(
      alice.POST("/api/v1/reservations", {
        params: { header: { "Idempotency-Key": "typescript-story" } },
        body: {
          resource_id: resource.id,
          title: "Training",
          start_time: nextHour(1).toISOString(),
          end_time: nextHour(9).toISOString(),
          user_ssh_key: SSH_KEY,
          additional_config: { gpu_type: "nvidia-a100", gpu_count: 4 },
        },
      }),
    );
    const reservation = { params: { path: { id: made.id } } };
    const read = (): Promise<Reservation> => ok(alice.GET("/api/v1/reservations/{id}", reservation));
    await expect.poll(async () => (await read()).provisioning.status).toBe("ready");
    expect((await read()).provisioning.access_info?.connection_command).toContain("ssh ");

    // A conflict is a typed problem.
    const { error } = await alice.POST("/api/v1/reservations", {
      params: {},
      body: { resource_id: resource.id, start_time: nextHour(2).toISOString(), end_time: nextHour(3).toISOString() },
    });
    expect(error?.type).toBe("/problems/conflict");

    // Modify, then cancel.
    await ok(alice.PATCH("/api/v1/reservations/{id}", { ...reservation, body: { end_time: nextHour(10).toISOString() } }));
    await expect
      .poll(async () => (await read()).deliveries.map((delivery) => delivery.status))
      .toEqual(["succeeded", "succeeded"]);
    await ok(alice.POST("/api/v1/reservations/{id}/cancel", { ...reservation, body: { reason: "The training is over" } }));
    await expect.poll(async () => (await read()).provisioning.status).toBe("released");
    const deliveries = await ok(
      admin.GET("/api/v1/deliveries", { params: { query: { reservation_id: made.id, status: "succeeded" } } }),
    );
    expect(deliveries.items.map((delivery) => delivery.event_type)).toEqual([
      "reservation.cancelled",
      "reservation.updated",
      "reservation.created",
    ]);

    // Rotate. A repeated request returns the same secret.
    const rotation = { params: { path, header: { "Idempotency-Key": "typescript-rotation" } }, body: {} };
    const rotated = await ok(admin.POST("/api/v1/webhooks/{id}/rotate-secret", rotation));
    expect((await ok(admin.POST("/api/v1/webhooks/{id}/rotate-secret", rotation))).secret).toBe(rotated.secret);
    expect(rotated.previous_secrets_until).toHaveLength(1);
  } finally {
    await service.stop();
  }
});

test("a generated Python client drives the story of the guide", async ({ berth }) => {
  test.skip(!hasApiTools, WITHOUT_TOOLS);
  const folder = await mkdtemp(join(tmpdir(), "berth-python-client-"));
  try {
    const document = join(root, "docs", "openapi.json");
    const output = join(folder, "berth_client");
    const generate = ["generate", "--path", document, "--output-path", output, "--meta", "none"];
    await runApiTool("openapi-python-client", generate, folder);
    await runApiTool("python", [join(root, "end2end", "support", "story.py")], folder, {
      PYTHONPATH: folder,
      PYTHONDONTWRITEBYTECODE: "1",
      BERTH_URL: berth.url,
      BERTH_ADMIN_TOKEN: berth.api.token,
      BERTH_USER_TOKEN: await berth.token("alice"),
      BERTH_RECEIVER: join(root, "examples", "python", "receiver.py"),
      BERTH_RECEIVER_PORT: String(await freePort()),
      SSH_KEY,
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
