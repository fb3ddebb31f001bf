// A webhook receiver for Berth without dependencies (Node 20 or later). Use it as a starting point.
//
//     WEBHOOK_SECRET=whsec_... node receiver.mjs
//
// It verifies every request, responds with 202 to long-running work, reports progress to the event's `status_url`, and
// processes a repeated event once. Replace `provision` and `release` with the work of your service.
//
// Environment variables:
//   WEBHOOK_SECRET   the webhook's secret; during a rotation several, separated by spaces, the newest last
//   HOST, PORT       listening address (127.0.0.1 and 8000; port 0 = any free port)
//   BERTH_STEPS_MS   milliseconds between two steps of the simulated provisioning (1500)
//   FAIL_WITH        a status code for every response, e.g. 500, to see how Berth handles it
//   DELAY_MS         delay of each response in milliseconds

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const secrets = (process.env.WEBHOOK_SECRET ?? "").split(/\s+/).filter(Boolean);
const host = process.env.HOST ?? "127.0.0.1";
const port = Number(process.env.PORT ?? 8000);
const stepMs = Number(process.env.BERTH_STEPS_MS ?? 1500);
const failWith = Number(process.env.FAIL_WITH ?? 0);
const delayMs = Number(process.env.DELAY_MS ?? 0);

const maxBody = 1024 * 1024;
// Tolerated clock skew; an older request may be a replay.
const toleranceSeconds = 5 * 60;
const rememberedEvents = 10_000;
const events = ["reservation.created", "reservation.updated", "reservation.cancelled", "reservation.expired", "user.access_requested"];

/** Computes `X-Webhook-Signature`; the key is the text of the secret. */
function signatureOfBody(secret, body) {
  return `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
}

/** Computes one entry of `webhook-signature` (Standard Webhooks); the key is the decoded part after `whsec_`. */
function standardSignature(secret, id, timestamp, body) {
  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : secret;
  return `v1,${createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64")}`;
}

/** Compares in constant time, which prevents timing attacks. */
function constantTimeEquals(one, other) {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/**
 * The reason to reject a request, or null for a valid signature.
 *
 * `webhook-signature` is preferred: it covers the timestamp, and during a rotation it contains signatures of both
 * secrets. `X-Webhook-Signature` alone is accepted for manual requests.
 */
function rejectionReason(headers, body) {
  const standard = headers["webhook-signature"];
  if (standard === undefined) {
    const given = headers["x-webhook-signature"] ?? "";
    return secrets.some((secret) => constantTimeEquals(given, signatureOfBody(secret, body))) ? null : "Invalid webhook signature";
  }
  const id = headers["webhook-id"] ?? "";
  const timestamp = headers["webhook-timestamp"] ?? "";
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > toleranceSeconds) {
    return "The signature's webhook-timestamp is too old or too new";
  }
  const expected = secrets.map((secret) => standardSignature(secret, id, timestamp, body));
  const isValid = standard.split(" ").some((given) => expected.some((one) => constantTimeEquals(given, one)));
  return isValid ? null : "Invalid webhook signature";
}

/** Posts a status update. Returns false when the job should stop. */
async function report(event, job, update) {
  const body = JSON.stringify({ ...update, timestamp: new Date().toISOString() });
  // Retries are idempotent: Berth responds to an exact repeat with 200 and changes nothing.
  for (const wait of [1000, 2000, 4000]) {
    try {
      const response = await fetch(event.status_url, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "x-webhook-id": String(event.webhook_id),
          // The last secret is the newest. During a rotation Berth accepts both.
          "x-webhook-signature": signatureOfBody(secrets.at(-1), body),
        },
        body,
        signal: AbortSignal.timeout(10_000),
      });
      if (response.ok) return true;
      console.error(`${event.reservation_id}: the status update failed with ${response.status}: ${await response.text()}`);
      if (![429, 500, 502, 503, 504].includes(response.status)) return false;
    } catch (error) {
      console.error(`${event.reservation_id}: the status update could not be sent: ${error.cause ?? error}`);
    }
    await sleep(wait);
    if (job.stopped) return false;
  }
  return false;
}

/** Provisions a resource step by step and reports the progress. */
async function work(event, job) {
  const steps = [
    { status: "provisioning", progress: 10, message: "Choosing nodes" },
    { status: "provisioning", progress: 45, message: "Creating the cluster" },
    { status: "provisioning", progress: 80, message: "Installing your key" },
    { status: "ready", message: "The cluster is ready", details: { access_info: accessInfo(event) } },
  ];
  for (const step of steps) {
    await sleep(stepMs);
    if (job.stopped || !(await report(event, job, step))) break;
  }
  job.ended = true;
}

/** Access information; a real service gets it from its cluster manager. */
function accessInfo(event) {
  const [address, user] = ["192.168.100.10", `user-${event.user_id}`];
  return { ip_address: address, port: 22, username: user, connection_command: `ssh ${user}@${address}` };
}

// In-memory state. A real service stores it in its database, in one transaction with the work.
const jobs = new Map();
const responses = new Map();

/** Handles reservation.created and reservation.updated. */
function provision(event) {
  const running = jobs.get(event.reservation_id);
  const busy = running !== undefined && !running.ended;
  const changed = Object.keys(event.previous ?? {});
  const rebuild = changed.includes("additional_config") || changed.includes("user_ssh_key");
  if (event.event_type === "reservation.updated" && !busy && !rebuild) {
    const details = { access_info: accessInfo(event) };
    return [200, { status: "success", reservation_id: event.reservation_id, message: "The change was noted", details }];
  }
  if (busy) running.stopped = true;
  // A test event has no reservation, so it accepts no status updates.
  if (event.test !== true && event.status_url) {
    const job = { stopped: false, ended: false };
    jobs.set(event.reservation_id, job);
    void work(event, job);
  }
  const details = { estimated_ready_time: `${Math.max(1, Math.round((4 * stepMs) / 1000))} seconds` };
  return [202, { status: "accepted", reservation_id: event.reservation_id, message: "The cluster is being created", details }];
}

/** Handles reservation.cancelled and reservation.expired. */
function release(event) {
  const job = jobs.get(event.reservation_id);
  if (job !== undefined) job.stopped = true;
  jobs.delete(event.reservation_id);
  return [200, { status: "success", reservation_id: event.reservation_id, message: "The cluster was released" }];
}

/** Handles user.access_requested. */
function accessRequested(event) {
  console.error(`${event.user_id} requests access to ${event.resource_name}: ${event.reason}`);
  return [200, { status: "success", message: "The request was noted" }];
}

const routes = {
  "/api/webhook/reservation": provision,
  "/api/webhook/reservation/cancel": release,
  "/api/webhook/access-request": accessRequested,
};

/** Processes an event once; a repeated event gets the same response. */
function handle(event, act) {
  const id = event.event_id;
  if (responses.has(id)) {
    console.error(`${id} is a repeated event; sending the stored response`);
    return responses.get(id);
  }
  const response = act(event);
  if (id !== undefined) {
    responses.set(id, response);
    if (responses.size > rememberedEvents) responses.delete(responses.keys().next().value);
  }
  return response;
}

/** Reads the raw bytes of the body, which the signature covers; re-serialised JSON differs. Null if the body is too large. */
async function readBody(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > maxBody) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Handles a request. Returns the status and body of the response. */
async function respond(request) {
  const path = request.url.split("?")[0];
  if (request.method !== "POST") {
    if (path in routes) return [405, { detail: "Send POST." }];
    if (path !== "/" && path !== "/health") return [404, { detail: `There is nothing at ${path}.` }];
    return [200, { status: "healthy", service: "berth-example-receiver", endpoints: Object.keys(routes) }];
  }
  const body = await readBody(request);
  if (body === null) return [413, { detail: "Send at most 1 MiB." }];
  await sleep(delayMs);
  if (failWith) return [failWith, { detail: `FAIL_WITH is ${failWith}.` }];
  const act = routes[path];
  if (act === undefined) return [404, { detail: `There is nothing at ${path}.` }];
  const rejection = rejectionReason(request.headers, body);
  if (rejection) return [401, { detail: rejection }];
  let event;
  try {
    event = JSON.parse(body.toString("utf8"));
  } catch {
    event = null;
  }
  if (event === null || typeof event !== "object" || Array.isArray(event)) {
    return [400, { detail: "The body is not a JSON object." }];
  }
  // Later releases of Berth add events. A manual request may have no event_type.
  if (event.event_type !== undefined && !events.includes(event.event_type)) {
    return [200, { status: "success", message: "The event was ignored" }];
  }
  if (act !== accessRequested && typeof event.reservation_id !== "string") {
    return [422, { detail: "The field 'reservation_id' is missing." }];
  }
  console.error(`${event.event_type} ${event.reservation_id ?? ""} attempt ${request.headers["x-webhook-attempt"]}`);
  return handle(event, act);
}

if (secrets.length === 0) {
  console.error("Set WEBHOOK_SECRET to the secret that Berth showed when the webhook was saved.");
  process.exit(1);
}
const server = createServer(async (request, response) => {
  try {
    const [status, body] = await respond(request);
    const headers = { "content-type": "application/json", ...(status === 405 ? { allow: "POST" } : {}) };
    response.writeHead(status, headers).end(JSON.stringify(body));
  } catch (error) {
    console.error(error);
    if (!response.headersSent) response.writeHead(500, { "content-type": "application/json" });
    response.end(JSON.stringify({ detail: "Internal error." }));
  }
});
server.listen(port, host, () => console.log(`http://${host}:${server.address().port}`));
