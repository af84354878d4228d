"""Providers' calls: verified, stored raw, deduplicated, and applied by reading the object they name."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import FleetError, NotFound
from fleet.common.outbox import publish
from fleet.payments.disputes.service import apply_dispute
from fleet.payments.events import WebhookReceived
from fleet.payments.intent_models import PaymentWebhook
from fleet.payments.intents import apply_charge
from fleet.payments.outgoing import accounts, desk_refunds
from fleet.payments.outgoing.money_out import apply_move
from fleet.payments.providers.base import (
    ObjectKind,
    PaymentProvider,
    ProviderAccount,
    ProviderCharge,
    ProviderDispute,
    ProviderMove,
    ProviderObject,
)
from fleet.payments.transactions import Transactions

#: Headers that are not kept: they may hold a secret.
_NOT_KEPT = frozenset({"authorization", "cookie", "proxy-authorization"})


def receive(
    session: Session, provider: PaymentProvider, headers: Mapping[str, str], body: bytes, now: datetime
) -> PaymentWebhook | None:
    """Store a provider's call and have it applied by a worker; None when this event was stored before.

    Raises WebhookRefused when it is not the provider's, or older than five minutes.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    event = provider.read_webhook(lowered, body, now)
    webhook = session.scalars(
        insert(PaymentWebhook)
        .values(
            provider=provider.name,
            event_id=event.event_id[:100],
            kind=event.kind[:64],
            about=event.about,
            reference=event.reference[:100],
            body=body,
            headers={name: value for name, value in lowered.items() if name not in _NOT_KEPT},
            received_at=now,
        )
        .on_conflict_do_nothing(index_elements=["provider", "event_id"])
        .returning(PaymentWebhook)
    ).one_or_none()
    if webhook is not None:
        publish(session, WebhookReceived(webhook.id), now)
    return webhook


def process(transactions: Transactions, webhook_id: int, provider: PaymentProvider, now: datetime) -> bool:
    """Read the object a stored webhook names and apply it; False when that was done before.

    The provider is called between two transactions. Raises OutcomeUnknown when it does not answer: try again.
    """
    with transactions() as session:
        webhook = session.get(PaymentWebhook, webhook_id)
        if webhook is None or webhook.applied_at is not None or webhook.provider != provider.name:
            return False
        about, reference = ObjectKind(webhook.about), webhook.reference
    found = None if about is ObjectKind.OTHER else provider.fetch(about, reference)
    with transactions() as session:
        return apply(session, webhook_id, found, now)


def apply(session: Session, webhook_id: int, found: ProviderObject | None, now: datetime) -> bool:
    """Apply the object that the provider gave for a webhook; False when that was done before.

    An object that fits no intent is noted on the row for an operator, and changes no money.
    """
    query = select(PaymentWebhook).where(PaymentWebhook.id == webhook_id).with_for_update()
    webhook = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if webhook is None or webhook.applied_at is not None:
        return False
    webhook.applied_at = now
    try:
        with session.begin_nested():
            if webhook.about != ObjectKind.OTHER:
                apply_object(session, webhook.provider, found, now)
    except FleetError as error:
        webhook.error = f"{error.code}: {error.message}"[:1000]
    return True


def apply_object(session: Session, provider: str, found: ProviderObject | None, now: datetime) -> None:
    """Make our side what the provider's object says. Raises NotFound when it is not ours, ChargeMismatch."""
    if isinstance(found, ProviderCharge) and found.intent_id is not None:
        apply_charge(session, found.intent_id, found, now)
    elif isinstance(found, ProviderMove) and found.id is None:
        desk_refunds.adopt(session, provider, found, now)
    elif isinstance(found, ProviderMove):
        apply_move(session, found, now)
    elif isinstance(found, ProviderDispute):
        apply_dispute(session, provider, found, now)
    elif isinstance(found, ProviderAccount):
        accounts.apply_account(session, provider, found, now)
    else:
        raise NotFound("the provider has no such object of ours")
