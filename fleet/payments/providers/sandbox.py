"""The sandbox: another company, as far as anybody can tell. Own books, own transactions, own clock, signed webhooks.

What it does depends on the card (docs/payments.md).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.db import new_id, session_scope
from fleet.payments.errors import WebhookRefused
from fleet.payments.models import SandboxCharge, SandboxDelivery
from fleet.payments.providers import signing
from fleet.payments.providers.base import (
    ChargeOrder,
    ChargeStatus,
    OutcomeUnknown,
    ProviderCharge,
    ProviderEvent,
    ProviderRefused,
)

NAME = "sandbox"
SIGNATURE_HEADER = "sandbox-signature"

#: How long a slow card takes.
SLOW = timedelta(seconds=5)
#: A delivery that is not confirmed is repeated after this, doubled each time up to an hour, for about two days.
RETRY = timedelta(seconds=5)
RETRY_SLOWEST = timedelta(hours=1)
ATTEMPTS_MAX = 60


class Card(StrEnum):
    SUCCEEDS = "4242424242424242"
    DECLINED = "4000000000000002"
    INSUFFICIENT_FUNDS = "4000000000009995"
    EXPIRED = "4000000000000069"
    #: No answer; the charge was made.
    TIMEOUT_CHARGED = "4000000000001000"
    #: No answer; the charge was not made.
    TIMEOUT_NOT_CHARGED = "4000000000001018"
    #: Two different webhooks about one charge.
    ANSWERS_TWICE = "4000000000001026"
    #: Pending at first, succeeds after SLOW.
    SLOW = "4000000000001034"
    #: Pending for ever, no webhook.
    NEVER = "4000000000001042"


_FAILURES = {
    Card.DECLINED: "card_declined",
    Card.INSUFFICIENT_FUNDS: "insufficient_funds",
    Card.EXPIRED: "expired_card",
}
_PENDING = (Card.SLOW, Card.NEVER)
_KNOWN = frozenset(card.value for card in Card)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook, signed and ready to be posted."""

    id: UUID
    body: bytes
    headers: dict[str, str]


class SandboxProvider:
    def __init__(self, engine: Engine, secret: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._secret = secret.encode()
        self._clock = clock

    @property
    def name(self) -> str:
        return NAME

    def charge(self, order: ChargeOrder, card: str) -> ProviderCharge:
        number = card.replace(" ", "")
        if number == Card.TIMEOUT_NOT_CHARGED:
            raise OutcomeUnknown("the connection was lost")
        with session_scope(self._engine) as books:
            made = self._record(books, order, number)
            charge = self._as_ordered(books, order)
            if made:
                self._announce(books, charge, number)
            found = _public(charge)
        if number == Card.TIMEOUT_CHARGED:
            raise OutcomeUnknown("no answer in time")
        return found

    def _record(self, books: Session, order: ChargeOrder, number: str, cancelled: bool = False) -> bool:
        """Note the charge unless there is one under its key; True when this call made it."""
        now = self._clock()
        status, failure = _first_status(number)
        reference = books.scalar(
            insert(SandboxCharge)
            .values(
                reference=f"ch_{new_id().hex}",
                idempotency_key=str(order.intent_id),
                amount_minor=order.amount_minor,
                currency=order.currency,
                metadata_={"intent_id": str(order.intent_id), "user_id": str(order.user_id)},
                card=number[-4:],
                status=ChargeStatus.CANCELLED if cancelled else status,
                failure_code=failure,
                created_at=now,
                settles_at=now + SLOW if number == Card.SLOW else None,
            )
            .on_conflict_do_nothing(index_elements=["idempotency_key"])
            .returning(SandboxCharge.reference)
        )
        return reference is not None

    def _as_ordered(self, books: Session, order: ChargeOrder) -> SandboxCharge:
        """The charge under the order's key, locked and up to date. Raises ProviderRefused when it is another order."""
        query = select(SandboxCharge).where(SandboxCharge.idempotency_key == str(order.intent_id)).with_for_update()
        charge = books.scalars(query).one()
        self._settle(charge)
        if (charge.amount_minor, charge.currency) != (order.amount_minor, order.currency):
            raise ProviderRefused("this idempotency key was used for another charge")
        return charge

    def _settle(self, charge: SandboxCharge) -> None:
        if (
            charge.status == ChargeStatus.PENDING
            and charge.settles_at is not None
            and charge.settles_at <= self._clock()
        ):
            charge.status = ChargeStatus.SUCCEEDED

    def _announce(self, books: Session, charge: SandboxCharge, number: str) -> None:
        if number == Card.NEVER:
            return
        kind = "charge.failed" if charge.status == ChargeStatus.FAILED else "charge.succeeded"
        due = charge.settles_at or self._clock()
        for _ in range(2 if number == Card.ANSWERS_TWICE else 1):
            books.add(SandboxDelivery(reference=charge.reference, kind=kind, due_at=due))

    def find(self, intent_id: UUID) -> ProviderCharge | None:
        return self._look(SandboxCharge.idempotency_key == str(intent_id))

    def fetch(self, reference: str) -> ProviderCharge | None:
        return self._look(SandboxCharge.reference == reference)

    def _look(self, which: object) -> ProviderCharge | None:
        with session_scope(self._engine) as books:
            query = select(SandboxCharge).where(which).with_for_update()  # type: ignore[arg-type]  # a condition
            charge = books.scalars(query).one_or_none()
            if charge is None:
                return None
            self._settle(charge)
            return _public(charge)

    def cancel(self, order: ChargeOrder) -> ProviderCharge:
        with session_scope(self._engine) as books:
            self._record(books, order, "", cancelled=True)
            charge = self._as_ordered(books, order)
            if charge.status == ChargeStatus.PENDING:
                charge.status = ChargeStatus.CANCELLED
            return _public(charge)

    def read_webhook(self, headers: Mapping[str, str], body: bytes, now: datetime) -> ProviderEvent:
        signing.verify(self._secret, body, headers.get(SIGNATURE_HEADER, ""), now)
        try:
            event = json.loads(body)
            return ProviderEvent(str(event["id"]), str(event["type"]), str(event["data"]["reference"]))
        except (ValueError, KeyError, TypeError) as error:
            raise WebhookRefused("the body is not an event") from error


def _first_status(number: str) -> tuple[ChargeStatus, str | None]:
    if number in _FAILURES:
        return ChargeStatus.FAILED, _FAILURES[Card(number)]
    if number in _PENDING:
        return ChargeStatus.PENDING, None
    if number in _KNOWN:
        return ChargeStatus.SUCCEEDED, None
    return ChargeStatus.FAILED, "unknown_card"


def _public(charge: SandboxCharge) -> ProviderCharge:
    return ProviderCharge(
        reference=charge.reference,
        status=ChargeStatus(charge.status),
        amount_minor=charge.amount_minor,
        currency=charge.currency,
        intent_id=UUID(charge.metadata_["intent_id"]),
        user_id=UUID(charge.metadata_["user_id"]),
        failure_code=charge.failure_code,
    )


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
    event = {"id": f"evt_{delivery.id.hex}", "type": delivery.kind, "data": {"reference": delivery.reference}}
    body = json.dumps(event).encode()
    headers = {"content-type": "application/json", SIGNATURE_HEADER: signing.sign(secret, body, now)}
    return Delivery(delivery.id, body, headers)


def mark_delivered(session: Session, delivery_id: UUID, now: datetime) -> None:
    delivery = session.get(SandboxDelivery, delivery_id)
    if delivery is not None and delivery.delivered_at is None:
        delivery.delivered_at = now
