// Independent code verifies the signatures: the `standardwebhooks` package and Python's hmac.

import { execFileSync } from "node:child_process";
import { createPublicKey, verify as verifyEd25519 } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { expect, test } from "../fixtures.ts";
import type { Reservation } from "../support/api.ts";
import type { Received } from "../support/test-receiver.ts";

const PYTHON = process.env.BERTH_PYTHON ?? "python3";

/** Computes the guide's `X-Webhook-Signature` with Python. */
function byPython(secret: string, body: Buffer | string): string {
  const script = "import hashlib, hmac, sys; print('sha256=' + hmac.new(sys.argv[1].encode(), sys.stdin.buffer.read(), hashlib.sha256).hexdigest())";
  return execFileSync(PYTHON, ["-c", script, secret], { input: body, encoding: "utf8" }).trim();
}

/** Throws unless the Standard Webhooks headers are valid. */
function verify(verifier: Webhook, request: Received | undefined): void {
  if (request === undefined) throw new Error("nothing came");
  const headers = Object.fromEntries(["id", "timestamp", "signature"].map((name) => [`webhook-${name}`, String(request.headers[`webhook-${name}`])]));
  verifier.verify(request.body, headers);
}

const CASES = [
  { name: "a generated secret", secret: undefined },
  { name: "the guide's secret", secret: "your-secret-key" },
  { name: "a secret in Unicode", secret: "gehöimnis-漢字-🔑" },
];

for (const { name, secret } of CASES) {
  test(`both signatures are valid with ${name}`, async ({ berth, receiver }) => {
    const service = await receiver();
    const webhook = await berth.api.webhook({ endpoint_url: service.endpoint, secret });
    const resource = await berth.resource();
    await berth.api.reserve(resource.id, 1, { title: "Ünïcode 漢字 \u2028 \"quoted\" \\ </script>" });
    await berth.api.post(`/webhooks/${webhook.id}/test`);
    await expect.poll(() => service.received.length).toBe(2);
    const key = webhook.secret;
    const verifier = key.startsWith("whsec_") ? new Webhook(key) : new Webhook(Buffer.from(key), { format: "raw" });
    for (const request of service.received) {
      expect(request.headers["x-webhook-signature"]).toBe(byPython(key, request.body));
      verify(verifier, request);
      const tampered = { ...request, body: Buffer.concat([request.body, Buffer.from(" ")]) };
      expect(() => verify(verifier, tampered)).toThrow("No matching signature found");
      const replayed = { ...request, headers: { ...request.headers, "webhook-timestamp": "1700000000" } };
      expect(() => verify(verifier, replayed)).toThrow("timestamp");
    }
  });
}

test("the public key alone verifies an Ed25519 signature", async ({ berth, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint, ed25519: true });
  await berth.api.post(`/webhooks/${webhook.id}/test`);
  const [request] = service.received;
  const raw = Buffer.from(String(webhook.public_key).replace("whpk_", ""), "base64");
  // RFC 8410: the DER prefix of an Ed25519 public key of 32 bytes.
  const key = createPublicKey({ key: Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]), format: "der", type: "spki" });
  const header = (name: string) => String(request?.headers[name]);
  const signed = Buffer.concat([Buffer.from(`${header("webhook-id")}.${header("webhook-timestamp")}.`), request?.body ?? Buffer.alloc(0)]);
  const [symmetric, asymmetric] = header("webhook-signature").split(" ");
  expect(symmetric).toMatch(/^v1,/);
  const signature = Buffer.from(String(asymmetric).replace("v1a,", ""), "base64");
  expect(verifyEd25519(null, signed, key, signature)).toBe(true);
  expect(verifyEd25519(null, Buffer.concat([signed, Buffer.from(" ")]), key, signature)).toBe(false);
  // Libraries that support only `v1` ignore the other signature.
  verify(new Webhook(webhook.secret), request);
});

test("during a rotation both secrets verify requests and sign status updates", async ({ berth, receiver }) => {
  const service = await receiver();
  const webhook = await berth.api.webhook({ endpoint_url: service.endpoint });
  const resource = await berth.resource();
  const { secret } = await berth.api.post<{ secret: string }>(`/webhooks/${webhook.id}/rotate-secret`, { overlap_hours: 1 });
  const reservation = await berth.api.reserve(resource.id);
  await expect.poll(() => service.received.length).toBe(1);
  const [request] = service.received;
  verify(new Webhook(secret), request);
  verify(new Webhook(webhook.secret), request);
  expect(() => verify(new Webhook(`whsec_${Buffer.alloc(32).toString("base64")}`), request)).toThrow();
  expect(request?.headers["x-webhook-signature"]).toBe(byPython(secret, request?.body ?? ""));

  // Python computes the signature of the receiver too.
  const event = JSON.parse(String(request?.body)) as { status_url: string };
  const update = (status: string, key: string) => {
    const body = JSON.stringify({ status, timestamp: new Date().toISOString() });
    const signature = byPython(key, body);
    return fetch(event.status_url, { method: "POST", headers: { "x-webhook-id": String(webhook.id), "x-webhook-signature": signature }, body });
  };
  expect((await update("provisioning", webhook.secret)).status).toBe(200);
  expect((await update("ready", "not-the-secret")).status).toBe(401);
  expect((await update("ready", secret)).status).toBe(200);
  const shown = await berth.api.get<Reservation>(`/reservations/${reservation.id}`);
  expect(shown.provisioning.status).toBe("ready");
});
