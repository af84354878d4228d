"""The sandbox's webhooks: signed, posted over HTTP, and repeated until they are answered."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.payments.providers import signing
from fleet.payments.providers.sandbox.models import SandboxDelivery

SIGNATURE_HEADER = "sandbox-signature"
#: A delivery that is not confirmed is repeated after this, doubled each time up to an hour, for about two days.
RETRY = timedelta(seconds=5)
RETRY_SLOWEST = timedelta(hours=1)
ATTEMPTS_MAX = 60


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook, signed and ready to be posted."""

    id: UUID
    body: bytes
    headers: dict[str, str]


def due_deliveries(session: Session, secret: str, now: datetime, limit: int = 50) -> list[Delivery]:
    """Claim webhooks that are due, signed; commit, then post each and `mark_delivered` when it was answered with 2xx.

    A claimed one that is not marked comes again later: claiming is what counts the attempt. Safe in parallel.
    """
    query = (
        select(SandboxDelivery)
        .where(
            SandboxDelivery.delivered_at.is_(None),
            SandboxDelivery.due_at <= now,
            SandboxDelivery.attempts < ATTEMPTS_MAX,
        )
        .order_by(SandboxDelivery.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    claimed = list(session.scalars(query))
    for delivery in claimed:
        delivery.due_at = now + min(RETRY * 2 ** min(delivery.attempts, 20), RETRY_SLOWEST)
        delivery.attempts += 1
    return [_signed(delivery, secret.encode(), now) for delivery in claimed]


def _signed(delivery: SandboxDelivery, secret: bytes, now: datetime) -> Delivery:
    data = {"object": delivery.about, "reference": delivery.reference}
    event = {"id": f"evt_{delivery.id.hex}", "type": delivery.kind, "data": data}
    body = json.dumps(event).encode()
    headers = {"content-type": "application/json", SIGNATURE_HEADER: signing.sign(secret, body, now)}
    return Delivery(delivery.id, body, headers)


def mark_delivered(session: Session, delivery_id: UUID, now: datetime) -> None:
    delivery = session.get(SandboxDelivery, delivery_id)
    if delivery is not None and delivery.delivered_at is None:
        delivery.delivered_at = now
