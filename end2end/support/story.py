"""The story of the guide, driven by the Python client that openapi-python-client generates (api-clients.spec.ts)."""

import os
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from http import HTTPStatus

from berth_client import AuthenticatedClient
from berth_client.api.catalogue import catalogue_create_resource
from berth_client.api.deliveries import deliveries_list
from berth_client.api.reservations import (
    reservations_cancel,
    reservations_get,
    reservations_patch,
    reservations_reserve,
)
from berth_client.api.webhooks import webhooks_register, webhooks_rotate, webhooks_test
from berth_client.models import (
    CancelInput,
    DeliveryStatus,
    Outcome,
    ProblemBody,
    ProvisioningStatus,
    ReservationInput,
    ReservationPatch,
    ResourceInput,
    WebhookInput,
)

URL = os.environ["BERTH_URL"]
PORT = os.environ["BERTH_RECEIVER_PORT"]
DEADLINE_SECONDS = 30


def client_of(token: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=URL, token=token, raise_on_unexpected_status=True)


admin = client_of(os.environ["BERTH_ADMIN_TOKEN"])
alice = client_of(os.environ["BERTH_USER_TOKEN"])


def ok(response):
    """The parsed body of a successful response."""
    assert response.status_code < 300, f"{response.status_code}: {response.content!r}"
    return response.parsed


def next_hour(hours: int) -> datetime:
    now = datetime.now(timezone.utc) + timedelta(hours=hours)
    return now.replace(minute=0, second=0, microsecond=0)


def wait_for(reservation_id: str, condition) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        detail = ok(reservations_get.sync_detailed(reservation_id, client=alice))
        if condition(detail):
            return
        assert time.monotonic() < deadline, detail.to_dict()
        time.sleep(0.05)


def story(secret: str, webhook_id: int, resource_id: int) -> None:
    attempt = ok(webhooks_test.sync_detailed(webhook_id, client=admin))
    assert attempt.outcome == Outcome.SUCCEEDED, attempt.diagnosis

    reservation = ReservationInput.from_dict(
        {
            "resource_id": resource_id,
            "title": "Training",
            "start_time": next_hour(1).isoformat(),
            "end_time": next_hour(9).isoformat(),
            "user_ssh_key": os.environ["SSH_KEY"],
            "additional_config": {"gpu_type": "nvidia-a100", "gpu_count": 4},
        }
    )
    made = ok(reservations_reserve.sync_detailed(client=alice, body=reservation, idempotency_key="python-story"))
    again = ok(reservations_reserve.sync_detailed(client=alice, body=reservation, idempotency_key="python-story"))
    assert made.id == again.id
    wait_for(made.id, lambda detail: detail.provisioning.status == ProvisioningStatus.READY)

    conflict = reservations_reserve.sync_detailed(client=alice, body=reservation)
    assert conflict.status_code == HTTPStatus.CONFLICT and isinstance(conflict.parsed, ProblemBody)

    ok(reservations_patch.sync_detailed(made.id, client=alice, body=ReservationPatch(end_time=next_hour(10))))
    wait_for(made.id, lambda detail: [one.status for one in detail.deliveries] == [DeliveryStatus.SUCCEEDED] * 2)
    ok(reservations_cancel.sync_detailed(made.id, client=alice, body=CancelInput(reason="The training is over")))
    wait_for(made.id, lambda detail: detail.provisioning.status == ProvisioningStatus.RELEASED)

    deliveries = ok(deliveries_list.sync_detailed(client=admin, reservation_id=made.id, status=DeliveryStatus.SUCCEEDED))
    events = [delivery.event_type.value for delivery in deliveries.items]
    assert events == ["reservation.cancelled", "reservation.updated", "reservation.created"], events

    rotated = ok(webhooks_rotate.sync_detailed(webhook_id, client=admin, idempotency_key="python-rotation"))
    repeated = ok(webhooks_rotate.sync_detailed(webhook_id, client=admin, idempotency_key="python-rotation"))
    assert rotated.secret == repeated.secret != secret


def main() -> None:
    resource = ok(
        catalogue_create_resource.sync_detailed(
            client=admin, body=ResourceInput(name="Python cluster", resource_type="gpu-cluster")
        )
    )
    webhook = WebhookInput.from_dict(
        {
            "name": "GPU Cluster Manager",
            "endpoint_url": f"http://127.0.0.1:{PORT}/api/webhook",
            "resource_type": "gpu-cluster",
            "events": ["reservation.created", "reservation.updated", "reservation.cancelled"],
            "auth": {"method": "api_key", "header": "X-API-Key", "key": "the-key-of-your-service"},
        }
    )
    registered = ok(webhooks_register.sync_detailed(client=admin, body=webhook))
    environment = {**os.environ, "WEBHOOK_SECRET": registered.secret, "PORT": PORT, "BERTH_STEPS_MS": "200"}
    receiver = subprocess.Popen(
        [sys.executable, os.environ["BERTH_RECEIVER"]], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        # The receiver prints its URL when it listens.
        assert receiver.stdout is not None and receiver.stdout.readline().startswith("http://")
        story(registered.secret, registered.id, resource.id)
    finally:
        receiver.terminate()
        receiver.wait()


main()
