"""Refunds: asked for, agreed to by somebody else, given back where the money came from (decision 0132).

Last in, first out: what the card paid for a rental goes back to the card, then comes the wallet's part, then points
as points.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import Conflict, InvalidInput, NotFound
from fleet.common.money import Money
from fleet.payments import holds, invoices, ledger
from fleet.payments.disputes.service import disputed_of
from fleet.payments.errors import RefundNotOpen, RefundTooLarge
from fleet.payments.intent_models import IntentPurpose, IntentState, PaymentIntent
from fleet.payments.models import AccountKind, LedgerAccount, LedgerTransfer
from fleet.payments.outgoing import money_out
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState, Refund, RefundState
from fleet.payments.providers.base import ObjectKind
from fleet.payments.wallets import wallet_of

CARD_REFUND = "card_refund"
_GONE = (MoneyOutState.PENDING, MoneyOutState.SUCCEEDED)


def request_for_rental(
    session: Session,
    *,
    rental_id: UUID,
    user_id: UUID,
    requested_by: UUID,
    amount_minor: int | None,
    reason: str,
    now: datetime,
) -> Refund:
    """Ask for some (None: all that is left) of what the user paid for a rental; nothing moves.

    Raises NotFound when they paid nothing for it, RefundTooLarge, InvalidInput, RefundNotOpen when one is under way.
    """
    paid = _paid_by(session, rental_id, user_id)
    left = paid.amount_minor - holds.refunded_for(session, rental_id)
    return _request(
        session,
        Refund(user_id=user_id, rental_id=rental_id, currency=paid.currency, requested_by=requested_by),
        amount_minor, left=left, reason=reason, now=now,
    )  # fmt: skip


def _paid_by(session: Session, rental_id: UUID, user_id: UUID) -> Money:
    """What this user paid for the rental."""
    query = (
        select(LedgerTransfer.currency)
        .join(LedgerAccount, LedgerAccount.id == LedgerTransfer.debit_account_id)
        .where(LedgerTransfer.rental_id == rental_id, LedgerAccount.owner_id == user_id)
        .limit(1)
    )
    currency = session.scalar(query)
    if currency is None:
        raise NotFound("you paid nothing for such a rental", rental_id=rental_id)
    return Money(holds.charged_for(session, rental_id), currency)


def request_for_top_up(
    session: Session, *, intent_id: UUID, user_id: UUID, amount_minor: int | None, reason: str, now: datetime
) -> Refund:
    """Ask for some (None: all that is left) of a top-up; only what is not spent can be given back, when it is agreed.

    Raises NotFound, RefundTooLarge, InvalidInput, RefundNotOpen.
    """
    intent = session.get(PaymentIntent, intent_id)
    mine = intent is not None and intent.user_id == user_id and intent.purpose == IntentPurpose.TOP_UP
    if intent is None or not mine or intent.state is not IntentState.SUCCEEDED:
        raise NotFound("no such top-up", intent_id=intent_id)
    refund = Refund(user_id=user_id, intent_id=intent_id, currency=intent.currency, requested_by=user_id)
    return _request(session, refund, amount_minor, left=card_left(session, intent), reason=reason, now=now)


def card_left(session: Session, intent: PaymentIntent) -> int:
    """Minor units of a payment that its card has not got back and is not about to, by a refund or a dispute."""
    gone = select(func.coalesce(func.sum(MoneyOut.amount_minor), 0)).where(
        MoneyOut.intent_id == intent.id, MoneyOut.state.in_(_GONE)
    )
    left = (intent.captured_minor or 0) - int(session.scalar(gone) or 0) - disputed_of(session, intent.id)
    return max(left, 0)


def _request(
    session: Session, refund: Refund, amount_minor: int | None, *, left: int, reason: str, now: datetime
) -> Refund:
    amount = left if amount_minor is None else amount_minor
    if not reason.strip():
        raise InvalidInput("a refund needs a reason", field="reason")
    if amount > left or left <= 0:
        raise RefundTooLarge(f"{Money(max(left, 0), refund.currency)} may be refunded", left_minor=max(left, 0))
    if amount <= 0:
        raise InvalidInput("a refund of nothing", field="amount_minor")
    made = session.scalars(
        insert(Refund)
        .values(
            user_id=refund.user_id, rental_id=refund.rental_id, intent_id=refund.intent_id, amount_minor=amount,
            currency=refund.currency, reason=reason.strip()[:300], state=RefundState.REQUESTED,
            requested_by=refund.requested_by, requested_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Refund)
    ).one_or_none()  # fmt: skip
    if made is None:
        raise RefundNotOpen("a refund of this is being decided already")
    return made


def _open(session: Session, refund_id: UUID, now: datetime) -> Refund:
    """The refund, undecided, with the rider's wallet and itself locked."""
    refund = session.get(Refund, refund_id)
    if refund is None:
        raise NotFound("no such refund", refund_id=refund_id)
    ledger.lock_accounts(session, wallet_of(session, refund.user_id, refund.currency, now).account_id)
    refund = session.get_one(Refund, refund_id, with_for_update=True, populate_existing=True)
    if refund.state is not RefundState.REQUESTED:
        raise RefundNotOpen(f"this refund is {refund.state}", refund_id=refund_id, state=refund.state)
    return refund


def _decide(refund: Refund, state: RefundState, approver_id: UUID, note: str | None, now: datetime) -> None:
    if approver_id == refund.user_id:
        raise Conflict("nobody decides on a refund to themselves", refund_id=refund.id)
    refund.state, refund.decided_by, refund.decided_at = state, approver_id, now
    refund.note = None if note is None else note[:300]


def return_payment(
    session: Session, intent: PaymentIntent, amount_minor: int, *, by: UUID | None, reason: str, now: datetime
) -> int:
    """Send money of the wallet back to the card that brought it, which nobody has to agree to any more.

    `by`: who wants it so; None: nobody, it was not wanted. Returns the minor units that go, at most what the card has
    not got back; should the card not take them, they stay in the wallet. The caller has locked the rider's wallet.
    """
    amount = min(amount_minor, card_left(session, intent))
    if amount <= 0:
        return 0
    refund = Refund(
        user_id=intent.user_id, intent_id=intent.id, amount_minor=amount, currency=intent.currency,
        reason=reason[:300], state=RefundState.APPROVED, requested_by=by or intent.user_id, requested_at=now,
        decided_by=by, decided_at=now,
    )  # fmt: skip
    session.add(refund)
    session.flush()  # the movement refers to it
    _to_card(session, refund, intent, amount, now)
    return amount


def reject(session: Session, refund_id: UUID, *, approver_id: UUID, note: str, now: datetime) -> Refund:
    """Raises NotFound, RefundNotOpen, Conflict."""
    refund = _open(session, refund_id, now)
    _decide(refund, RefundState.REJECTED, approver_id, note, now)
    return refund


def approve(session: Session, refund_id: UUID, *, approver_id: UUID, now: datetime, note: str | None = None) -> Refund:
    """Give it back to where it came from. The wallet's part is there at once, the card's when the provider has done it;
    should the card not take it, it stays in the wallet.

    Raises NotFound, RefundNotOpen, Conflict, RefundTooLarge, InsufficientFunds when a top-up was spent meanwhile.
    """
    refund = _open(session, refund_id, now)
    _decide(refund, RefundState.APPROVED, approver_id, note, now)
    session.flush()  # constraints speak before money moves
    if refund.rental_id is not None:
        to_cards = _refund_rental(session, refund, refund.rental_id, now)
    else:
        assert refund.intent_id is not None
        intent = session.get_one(PaymentIntent, refund.intent_id)
        left = card_left(session, intent)
        if refund.amount_minor > left:
            raise RefundTooLarge(f"{Money(left, refund.currency)} may be refunded", left_minor=left)
        to_cards = [(intent, refund.amount_minor)]
    for intent, minor in to_cards:
        _to_card(session, refund, intent, minor, now)
    if not to_cards:
        refund.state = RefundState.COMPLETED
    return refund


def _refund_rental(session: Session, refund: Refund, rental_id: UUID, now: datetime) -> list[tuple[PaymentIntent, int]]:
    """Book it to the purse that paid; returns what of the wallet's part goes on to which card."""
    holds.refund_rental(
        session, rental_id=rental_id, money=Money(refund.amount_minor, refund.currency), reason=refund.reason,
        key=f"refund:{refund.id}", now=now,
    )  # fmt: skip
    invoices.credit_rental(session, rental_id, refund.amount_minor, reason=f"Refund: {refund.reason}", now=now)
    rest = _came_to_wallet(session, refund, rental_id)
    shares = []
    paid = select(PaymentIntent).where(
        PaymentIntent.rental_id == rental_id, PaymentIntent.state == IntentState.SUCCEEDED
    )
    for intent in session.scalars(paid.order_by(PaymentIntent.id)):
        minor = min(rest, card_left(session, intent))
        if minor > 0:
            shares.append((intent, minor))
            rest -= minor
    return shares


def _came_to_wallet(session: Session, refund: Refund, rental_id: UUID) -> int:
    """Points came back as points: they never go on to a card."""
    first = ledger.by_key(session, f"rental:{rental_id}:refund:refund:{refund.id}")
    if first is None:
        return 0
    account = session.get_one(LedgerAccount, first.credit_account_id)
    return first.amount_minor if account.kind is AccountKind.WALLET else 0


def _to_card(session: Session, refund: Refund, intent: PaymentIntent, minor: int, now: datetime) -> None:
    assert intent.provider_reference is not None
    held = ledger.hold(
        session,
        debit=wallet_of(session, refund.user_id, refund.currency, now).account_id,
        credit=ledger.house_accounts(session, refund.currency, now)[AccountKind.PROVIDER_CLEARING],
        money=Money(minor, refund.currency),
        kind=CARD_REFUND,
        key=f"card-refund:{refund.id}:{intent.id}",
        now=now,
        rental_id=intent.rental_id,
        intent_id=intent.id,
    )
    out = MoneyOut(
        kind=ObjectKind.REFUND, user_id=refund.user_id, refund_id=refund.id, intent_id=intent.id, amount_minor=minor,
        currency=refund.currency, provider=intent.provider, destination=intent.provider_reference,
        customer=intent.customer, state=MoneyOutState.PENDING, transfer_id=held.id, created_at=now, updated_at=now,
        ask_at=now + money_out.ASK_AFTER,
    )  # fmt: skip
    money_out.begin(session, out, now)
