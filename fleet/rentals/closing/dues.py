"""What riders owe of earlier rentals: collected as soon as there is money, from a card by schedule, or given up.

The debt is payments' (`fleet.payments.debts`), the rental says the same; both change here, under the locks of the
rider's wallet and of the rental.
"""

from datetime import datetime
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.payments import intents
from fleet.payments.debts import collecting, service, write_offs
from fleet.payments.debts.models import Debt, DebtWriteOff
from fleet.payments.debts.queries import debt_by_id
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.models import AccountKind, LedgerAccount
from fleet.payments.providers.base import PaymentProvider
from fleet.payments.transactions import Transactions
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental

log = structlog.get_logger(__name__)


def collect_dues(session: Session, user_id: UUID, now: datetime) -> int:
    """Pay the rider's debts from the wallet, oldest first, as far as it goes; returns the minor units moved."""
    owing = select(Rental.id).where(Rental.user_id == user_id, Rental.due_minor > 0)
    return _collect(session, list(session.scalars(owing)), now)


def collect_some(session: Session, now: datetime, limit: int) -> int:
    """Debts of riders who have money by now; returns how many rentals were paid for, in part or in full."""
    available = LedgerAccount.credits_posted - LedgerAccount.debits_posted - LedgerAccount.debits_pending
    payable = (
        select(Rental.id)
        .join(LedgerAccount, (LedgerAccount.owner_id == Rental.user_id) & (LedgerAccount.currency == Rental.currency))
        .where(Rental.due_minor > 0, LedgerAccount.kind == AccountKind.WALLET, available > 0)
        .order_by(Rental.id)
        .limit(limit)
    )
    ids = list(session.scalars(payable))
    _collect(session, ids, now)
    return len(ids)


def _collect(session: Session, rental_ids: list[UUID], now: datetime) -> int:
    rentals = lock_rentals(session, rental_ids).values()
    return sum(_pay(session, rental, now) for rental in sorted(rentals, key=lambda each: each.id) if rental.due_minor)


def _pay(session: Session, rental: Rental, now: datetime) -> int:
    paid = service.pay(session, rental.id, now)
    rental.due_minor -= paid
    rental.charged_minor += paid
    return paid


def collect_by_card(transactions: Transactions, provider: PaymentProvider, now: datetime, limit: int = 20) -> int:
    """The schedule's tries that are due: from the wallet what it has, the rest from a saved card.

    Returns how many cards were asked. Several may run at once: of one debt one try is under way, whoever makes it.
    """
    with transactions() as session:
        ids = collecting.due(session, now, limit)
    return sum(_try_card(transactions, rental_id, provider, now) for rental_id in ids)


def _try_card(transactions: Transactions, rental_id: UUID, provider: PaymentProvider, now: datetime) -> bool:
    try:
        with transactions() as session:
            wanted = _next_try(session, rental_id, provider, now)
        if wanted is not None:
            intent = intents.charge(transactions, wanted.order, wanted.token, provider, now)
            log.info("debt_tried", rental_id=str(rental_id), intent_id=str(intent.id), state=intent.state)
            with transactions() as session:
                collect_dues(session, intent.user_id, now)
    except Exception:  # one that cannot be asked for must not stop the others
        log.exception("debt_not_tried", rental_id=str(rental_id))
        return False
    return wanted is not None


def _next_try(session: Session, rental_id: UUID, provider: PaymentProvider, now: datetime) -> collecting.Try | None:
    rental = lock_rentals(session, [rental_id])[rental_id]
    _pay(session, rental, now)
    debt = service.locked(session, rental_id)
    return None if debt is None else collecting.begin_due(session, debt, provider, now)


def pay_by_card(
    transactions: Transactions,
    *,
    user_id: UUID,
    debt_id: UUID,
    provider: PaymentProvider,
    now: datetime,
    method_id: UUID | None = None,
    card: str | None = None,
    return_url: str | None = None,
) -> PaymentIntent | None:
    """The rider pays what is open of one debt with a saved card, or with a provider's token. What is in the wallet pays
    first: it may be what a card was charged for this before, by a request that died before it was collected. None:
    that was enough.

    The answer may be PROCESSING, UNKNOWN or REQUIRES_ACTION, as of any payment. Raises DebtNotFound, DebtNotOpen,
    DebtBeingCollected, PaymentMethodNotFound, MethodLimitReached.
    """
    with transactions() as session:
        rental, debt = _locked(session, debt_id, user_id)
        owed = debt.open_minor
        if owed and _pay(session, rental, now) == owed:
            return None
        wanted = collecting.begin_for_rider(
            session, debt, provider, now, method_id=method_id, card=card, return_url=return_url
        )
    intent = intents.charge(transactions, wanted.order, wanted.token, provider, now)
    with transactions() as session:
        collect_dues(session, user_id, now)
    return intent


def _locked(session: Session, debt_id: UUID, user_id: UUID | None = None) -> tuple[Rental, Debt]:
    rental_id = debt_by_id(session, debt_id, user_id).rental_id
    rental = lock_rentals(session, [rental_id])[rental_id]
    debt = service.locked(session, rental_id)
    assert debt is not None
    return rental, debt


def write_off(
    session: Session, debt_id: UUID, *, reason: str, actor_id: UUID, limit_minor: int, now: datetime
) -> DebtWriteOff:
    """Give up what is open, or ask a second operator to agree (`write_offs.request`). Raises what that does."""
    rental, debt = _locked(session, debt_id)
    row = write_offs.request(session, debt, reason=reason, actor_id=actor_id, limit_minor=limit_minor, now=now)
    _mirror(session, rental, debt)
    return row


def approve_write_off(
    session: Session, write_off_id: UUID, *, actor_id: UUID, note: str | None, now: datetime
) -> DebtWriteOff:
    """As `write_offs.approve`. Raises WriteOffNotFound, and what that does."""
    rental, debt = _locked(session, write_offs.write_off_of(session, write_off_id).debt_id)
    row = write_offs.approve(session, debt, write_off_id, actor_id=actor_id, note=note, now=now)
    _mirror(session, rental, debt)
    return row


def _mirror(session: Session, rental: Rental, debt: Debt) -> None:
    rental.due_minor, rental.written_off_minor = debt.open_minor, debt.written_off_minor
    session.flush()  # the answer is read back
