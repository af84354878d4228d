"""Hold our payments against the provider's list. Finding changes nothing; repairing goes the way of a webhook."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import NotFound
from fleet.payments.errors import NothingToRepair
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.outgoing import desk_refunds
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState
from fleet.payments.providers.base import (
    MoveStatus,
    ObjectKind,
    PaymentProvider,
    ProviderCharge,
    ProviderMove,
    ProviderObject,
)
from fleet.payments.reconciliation.models import DifferenceKind, Proposal, ReconciliationDifference, ReconciliationRun
from fleet.payments.transactions import Transactions
from fleet.payments.webhooks import apply_object

DAY: Final = timedelta(days=1)
#: What is younger may be on its way between the two.
SETTLED_AFTER: Final = timedelta(hours=1)
#: Ours are looked for this much around the window: the two clocks are not one.
_SLACK: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class _Ours:
    id: UUID
    about: ObjectKind
    reference: str
    state: str
    amount_minor: int
    currency: str
    #: What the provider has to say for this state; None: it may say anything.
    expected: str | None


def run(
    transactions: Transactions,
    provider: PaymentProvider,
    now: datetime,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> ReconciliationRun:
    """Compare what was created in [since, until), the day before an hour ago unless said otherwise; keep what differs.

    The provider is asked outside any transaction. Raises OutcomeUnknown when it does not answer: nothing is kept.
    """
    until = until or now - SETTLED_AFTER
    since = since or until - DAY
    theirs = [one for one in provider.listing(since, until) if isinstance(one, ProviderCharge | ProviderMove)]
    with transactions() as session:
        found = _compare(session, provider, theirs, since, until)
        made = ReconciliationRun(
            provider=provider.name, since=since, until=until, finished_at=now, compared=len(theirs),
            differences=len(found),
        )  # fmt: skip
        session.add(made)
        session.flush()  # the differences name it
        for difference in found:
            difference.run_id = made.id
        session.add_all(found)
        return made


def _compare(
    session: Session, provider: PaymentProvider, theirs: Sequence[ProviderCharge | ProviderMove], since: datetime,
    until: datetime,
) -> list[ReconciliationDifference]:  # fmt: skip
    ours = _by_id(session, [_our_id(one) for one in theirs])
    found = []
    for one in theirs:
        known = ours.get(_our_id(one)) or _made_there(session, provider.name, one)
        difference = _difference(one, known, adoptable=known is None and _may_adopt(session, provider.name, one))
        if difference is not None:
            found.append(difference)
    listed = {one.reference for one in theirs}
    booked = _booked(session, provider.name, since + _SLACK, until - _SLACK)
    return found + [_missing(one) for one in booked if one.reference not in listed]


def _our_id(one: ProviderCharge | ProviderMove) -> UUID | None:
    return one.intent_id if isinstance(one, ProviderCharge) else one.id


def _by_id(session: Session, ids: Sequence[UUID | None]) -> dict[UUID | None, _Ours]:
    known = [each for each in ids if each is not None]
    intents = session.scalars(select(PaymentIntent).where(PaymentIntent.id.in_(known)))
    outs = session.scalars(select(MoneyOut).where(MoneyOut.id.in_(known)))
    return {one.id: one for one in (*map(_of_intent, intents), *map(_of_move, outs))}


def _made_there(session: Session, provider: str, one: ProviderCharge | ProviderMove) -> _Ours | None:
    """What we have of a refund that was made at the provider's desk."""
    foreign = isinstance(one, ProviderMove) and one.id is None
    out = desk_refunds.booked(session, provider, one.reference) if foreign else None
    return None if out is None else _of_move(out)


def _may_adopt(session: Session, provider: str, one: ProviderCharge | ProviderMove) -> bool:
    given = isinstance(one, ProviderMove) and one.status is MoveStatus.SUCCEEDED
    return given and isinstance(one, ProviderMove) and desk_refunds.is_ours(session, provider, one) is not None


def _booked(session: Session, provider: str, since: datetime, until: datetime) -> list[_Ours]:
    """What we booked as done at the provider, of things that were begun well within the window."""
    intents = select(PaymentIntent).where(
        PaymentIntent.provider == provider,
        PaymentIntent.state == IntentState.SUCCEEDED,
        PaymentIntent.confirmed_at >= since,
        PaymentIntent.confirmed_at < until,
    )
    outs = select(MoneyOut).where(
        MoneyOut.provider == provider,
        MoneyOut.state == MoneyOutState.SUCCEEDED,
        MoneyOut.created_at >= since,
        MoneyOut.created_at < until,
    )
    return [*map(_of_intent, session.scalars(intents)), *map(_of_move, session.scalars(outs))]


def _of_intent(intent: PaymentIntent) -> _Ours:
    settled = intent.state in {IntentState.AUTHORIZED, IntentState.SUCCEEDED, IntentState.FAILED, IntentState.CANCELLED}
    return _Ours(
        intent.id, ObjectKind.CHARGE, intent.provider_reference or "", intent.state,
        intent.captured_minor or intent.amount_minor, intent.currency, intent.state if settled else None,
    )  # fmt: skip


def _of_move(out: MoneyOut) -> _Ours:
    expected = {MoneyOutState.SUCCEEDED: "succeeded", MoneyOutState.FAILED: "failed", MoneyOutState.RETURNED: "failed"}
    return _Ours(
        out.id, out.kind, out.provider_reference or "", out.state, out.amount_minor, out.currency,
        expected.get(out.state),
    )  # fmt: skip


def _difference(
    one: ProviderCharge | ProviderMove, ours: _Ours | None, *, adoptable: bool
) -> ReconciliationDifference | None:
    """`adoptable`: a refund of a payment of ours that we have not asked for, and have not heard of yet."""
    kind = _kind(one, ours)
    if kind is None:
        return None
    return ReconciliationDifference(
        kind=kind,
        about=_about(one),
        reference=one.reference,
        our_id=None if ours is None else ours.id,
        ours=None if ours is None else ours.state,
        theirs=one.status,
        amount_minor=_amount(one),
        currency=one.currency,
        proposal=Proposal.APPLY if adoptable or kind is DifferenceKind.STATE else Proposal.INVESTIGATE,
    )


def _kind(one: ProviderCharge | ProviderMove, ours: _Ours | None) -> DifferenceKind | None:
    if ours is None or ours.about is not _about(one):
        return DifferenceKind.UNKNOWN_TO_US
    if ours.reference and ours.reference != one.reference:
        return DifferenceKind.UNKNOWN_TO_US  # a second object for one of ours
    if ours.expected != one.status.value:
        return DifferenceKind.STATE
    if (ours.amount_minor, ours.currency) != (_amount(one), one.currency):
        return DifferenceKind.AMOUNT
    return None


def _about(one: ProviderCharge | ProviderMove) -> ObjectKind:
    return one.kind if isinstance(one, ProviderMove) else ObjectKind.CHARGE


def _amount(one: ProviderCharge | ProviderMove) -> int:
    return one.amount_minor if isinstance(one, ProviderMove) else one.captured_minor or one.amount_minor


def _missing(ours: _Ours) -> ReconciliationDifference:
    return ReconciliationDifference(
        kind=DifferenceKind.MISSING_THERE, about=ours.about, reference=ours.reference, our_id=ours.id,
        ours=ours.state, amount_minor=ours.amount_minor, currency=ours.currency, proposal=Proposal.INVESTIGATE,
    )  # fmt: skip


def repair(
    transactions: Transactions, difference_id: UUID, provider: PaymentProvider, now: datetime
) -> ReconciliationDifference:
    """Carry out a proposal to apply the provider's object: read it again, and apply it as a webhook would.

    Raises NotFound, NothingToRepair, ChargeMismatch, OutcomeUnknown.
    """
    with transactions() as session:
        difference = session.get(ReconciliationDifference, difference_id)
        if difference is None:
            raise NotFound("no such difference", difference_id=difference_id)
        if difference.proposal is not Proposal.APPLY or difference.repaired_at is not None:
            raise NothingToRepair("there is nothing to apply (any more)", difference_id=difference_id)
        about, reference = ObjectKind(difference.about), difference.reference
    found: ProviderObject | None = provider.fetch(about, reference)
    with transactions() as session:
        apply_object(session, provider.name, found, now)
        difference = session.get_one(ReconciliationDifference, difference_id, with_for_update=True)
        difference.repaired_at = difference.repaired_at or now
        return difference


def runs(session: Session, limit: int, before: UUID | None = None) -> list[ReconciliationRun]:
    """Newest first."""
    query = select(ReconciliationRun).order_by(ReconciliationRun.id.desc()).limit(limit)
    if before is not None:
        query = query.where(ReconciliationRun.id < before)
    return list(session.scalars(query))


def differences_of(session: Session, run_id: UUID) -> list[ReconciliationDifference]:
    """Raises NotFound."""
    if session.get(ReconciliationRun, run_id) is None:
        raise NotFound("no such reconciliation", run_id=run_id)
    query = select(ReconciliationDifference).where(ReconciliationDifference.run_id == run_id)
    return list(session.scalars(query.order_by(ReconciliationDifference.id)))


@dataclass(frozen=True, slots=True)
class Standing:
    """The last comparison, and what of it nobody has repaired."""

    finished_at: datetime
    unrepaired: int


def standing(session: Session) -> Standing | None:
    """None before the first comparison."""
    last = runs(session, 1)
    if not last:
        return None
    unrepaired = sum(each.repaired_at is None for each in differences_of(session, last[0].id))
    return Standing(last[0].finished_at, unrepaired)
