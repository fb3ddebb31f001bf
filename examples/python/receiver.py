"""A webhook receiver for Berth in Python, with the standard library only. Use it as a starting point.

    WEBHOOK_SECRET=whsec_... python3 receiver.py

It verifies every request, responds with 202 to long-running work, reports progress to the event's `status_url`, and
processes a repeated event once. Replace `provision` and `release` with the work of your service.

Environment variables:
  WEBHOOK_SECRET   the webhook's secret; during a rotation several, separated by spaces, the newest last
  HOST, PORT       listening address (127.0.0.1 and 8000; port 0 = any free port)
  BERTH_STEPS_MS   milliseconds between two steps of the simulated provisioning (1500)
  FAIL_WITH        a status code for every response, e.g. 500, to see how Berth handles it
  DELAY_MS         delay of each response in milliseconds
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRETS = os.environ.get("WEBHOOK_SECRET", "").split()
STEP_SECONDS = float(os.environ.get("BERTH_STEPS_MS", "1500")) / 1000
DELAY_SECONDS = float(os.environ.get("DELAY_MS", "0")) / 1000
FAIL_WITH = int(os.environ.get("FAIL_WITH", "0"))

MAX_BODY = 1024 * 1024
# Tolerated clock skew; an older request may be a replay.
TOLERANCE_SECONDS = 5 * 60
REMEMBERED_EVENTS = 10_000
EVENTS = {
    "reservation.created",
    "reservation.updated",
    "reservation.cancelled",
    "reservation.expired",
    "user.access_requested",
}


def signature_of_body(secret: str, body: bytes) -> str:
    """Computes `X-Webhook-Signature`; the key is the text of the secret."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def standard_signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Computes one entry of `webhook-signature` (Standard Webhooks); the key is the decoded part after `whsec_`."""
    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    content = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def constant_time_equals(one: str, other: str) -> bool:
    """Compares in constant time, which prevents timing attacks."""
    return hmac.compare_digest(one.encode(), other.encode())


def rejection_reason(headers, body: bytes):
    """The reason to reject a request, or None for a valid signature.

    `webhook-signature` is preferred: it covers the timestamp, and during a rotation it contains signatures of both
    secrets. `X-Webhook-Signature` alone is accepted for manual requests.
    """
    standard = headers.get("webhook-signature")
    if standard is None:
        given = headers.get("X-Webhook-Signature", "")
        is_valid = any(constant_time_equals(given, signature_of_body(secret, body)) for secret in SECRETS)
        return None if is_valid else "Invalid webhook signature"
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return "The signature's webhook-timestamp is too old or too new"
    expected = [standard_signature(secret, message_id, timestamp, body) for secret in SECRETS]
    if not any(constant_time_equals(given, one) for given in standard.split(" ") for one in expected):
        return "Invalid webhook signature"
    return None


class Job(threading.Thread):
    """Provisions a resource step by step and reports the progress."""

    def __init__(self, event: dict):
        super().__init__(daemon=True)
        self.event = event
        self.stopped = threading.Event()

    def run(self):
        for progress, message in [(10, "Choosing nodes"), (45, "Creating the cluster"), (80, "Installing your key")]:
            if self.stopped.wait(STEP_SECONDS) or not self.report("provisioning", message, progress=progress):
                return
        if not self.stopped.wait(STEP_SECONDS):
            self.report("ready", "The cluster is ready", details={"access_info": access_info(self.event)})

    def report(self, status: str, message: str, **more) -> bool:
        """Posts a status update. Returns False when the job should stop."""
        now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
        body = json.dumps({"status": status, "timestamp": now, "message": message, **more}).encode()
        request = urllib.request.Request(
            self.event["status_url"],
            data=body,
            headers={
                "Content-Type": "application/json",
                "X-Webhook-Id": str(self.event["webhook_id"]),
                # The last secret is the newest. During a rotation Berth accepts both.
                "X-Webhook-Signature": signature_of_body(SECRETS[-1], body),
            },
        )
        # Retries are idempotent: Berth responds to an exact repeat with 200 and changes nothing.
        for wait in (1, 2, 4):
            try:
                with urllib.request.urlopen(request, timeout=10):
                    return True
            except urllib.error.HTTPError as error:
                log(f"{self.event['reservation_id']}: the status update failed with {error.code}: {error.read()[:500]!r}")
                if error.code not in (429, 500, 502, 503, 504):
                    return False
            except OSError as error:
                log(f"{self.event['reservation_id']}: the status update could not be sent: {error}")
            if self.stopped.wait(wait):
                return False
        return False


class State:
    """In-memory state. A real service stores it in its database, in one transaction with the work."""

    def __init__(self):
        self.lock = threading.Lock()
        self.jobs = {}
        self.responses = OrderedDict()

    def handle(self, event: dict, act):
        """Processes an event once; a repeated event gets the same response."""
        event_id = event.get("event_id")
        with self.lock:
            if event_id in self.responses:
                log(f"{event_id} is a repeated event; sending the stored response")
                return self.responses[event_id]
            response = act(event)
            if event_id is not None:
                self.responses[event_id] = response
                if len(self.responses) > REMEMBERED_EVENTS:
                    self.responses.popitem(last=False)
            return response

    def provision(self, event: dict):
        """Handles reservation.created and reservation.updated."""
        reservation = event["reservation_id"]
        running = self.jobs.get(reservation)
        busy = running is not None and running.is_alive()
        changed = set(event.get("previous") or {})
        if event.get("event_type") == "reservation.updated" and not busy and not changed & {"additional_config", "user_ssh_key"}:
            return 200, {
                "status": "success",
                "reservation_id": reservation,
                "message": "The change was noted",
                "details": {"access_info": access_info(event)},
            }
        if busy:
            running.stopped.set()
        # A test event has no reservation, so it accepts no status updates.
        if not event.get("test") and event.get("status_url"):
            job = self.jobs[reservation] = Job(event)
            job.start()
        return 202, {
            "status": "accepted",
            "reservation_id": reservation,
            "message": "The cluster is being created",
            "details": {"estimated_ready_time": f"{max(1, round(4 * STEP_SECONDS))} seconds"},
        }

    def release(self, event: dict):
        """Handles reservation.cancelled and reservation.expired."""
        job = self.jobs.pop(event["reservation_id"], None)
        if job is not None:
            job.stopped.set()
        return 200, {"status": "success", "reservation_id": event["reservation_id"], "message": "The cluster was released"}

    def access_requested(self, event: dict):
        """Handles user.access_requested."""
        log(f"{event.get('user_id')} requests access to {event.get('resource_name')}: {event.get('reason')}")
        return 200, {"status": "success", "message": "The request was noted"}


def access_info(event: dict) -> dict:
    """Access information; a real service gets it from its cluster manager."""
    address, user = "192.168.100.10", f"user-{event['user_id']}"
    return {"ip_address": address, "port": 22, "username": user, "connection_command": f"ssh {user}@{address}"}


STATE = State()
ROUTES = {
    "/api/webhook/reservation": STATE.provision,
    "/api/webhook/reservation/cancel": STATE.release,
    "/api/webhook/access-request": STATE.access_requested,
}


class Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    protocol_version = "HTTP/1.1"
    # In seconds; prevents a stalled client from blocking a thread forever.
    timeout = 60

    def do_GET(self):
        if self.path in ROUTES:
            return self.respond(405, {"detail": "Send POST."}, {"Allow": "POST"})
        if self.path not in ("/", "/health"):
            return self.respond(404, {"detail": f"There is nothing at {self.path}."})
        return self.respond(200, {"status": "healthy", "service": "berth-example-receiver", "endpoints": sorted(ROUTES)})

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            self.close_connection = True
            return self.respond(411 if not length else 413, {"detail": "Send a Content-Length of at most 1 MiB."})
        # The signature covers the raw bytes; re-serialised JSON differs.
        body = self.rfile.read(int(length))
        time.sleep(DELAY_SECONDS)
        if FAIL_WITH:
            return self.respond(FAIL_WITH, {"detail": f"FAIL_WITH is {FAIL_WITH}."})
        act = ROUTES.get(self.path.split("?")[0])
        if act is None:
            return self.respond(404, {"detail": f"There is nothing at {self.path}."})
        rejection = rejection_reason(self.headers, body)
        if rejection:
            return self.respond(401, {"detail": rejection})
        try:
            event = json.loads(body)
            log(f"{event.get('event_type')} {event.get('reservation_id', '')} attempt {self.headers.get('X-Webhook-Attempt')}")
            # Later releases of Berth add events. A manual request may have no event_type.
            if event.get("event_type", "reservation.created") not in EVENTS:
                return self.respond(200, {"status": "success", "message": "The event was ignored"})
            status, response = STATE.handle(event, act)
        except (ValueError, AttributeError):
            return self.respond(400, {"detail": "The body is not a JSON object."})
        except KeyError as error:
            return self.respond(422, {"detail": f"The field {error} is missing."})
        return self.respond(status, response)

    def respond(self, status: int, body: dict, headers=None):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Disables the default access log; `log` writes more detailed lines."""


def log(text: str):
    print(text, file=sys.stderr, flush=True)


def main():
    if not SECRETS:
        sys.exit("Set WEBHOOK_SECRET to the secret that Berth showed when the webhook was saved.")
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    server = ThreadingHTTPServer((host, port), Handler)
    print(f"http://{host}:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
