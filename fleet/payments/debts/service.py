"""What a rider owes for a rental, and everything that makes it less. Decision 0195.

Whoever calls this holds the lock of the rider's wallet: it is the one door to the rider's debts.
`fleet.rentals.closing.dues` keeps the rental in step. What is open is in the ledger's receivables: earned, and not
paid yet.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.config.service import PUBLIC, ConfigKey, get, registry
from fleet.db import new_id
from fleet.payments import ledger
from fleet.payments.debts.models import Debt, DebtCollection, DebtState
from fleet.payments.debts.rules import RetryPolicy, next_try, state_of
from fleet.payments.events import DebtClosed, DebtCollectionFailed, DebtIncurred, RentalDuePaid
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.models import AccountKind, LedgerTransfer
from fleet.payments.wallets import wallet_of

INCURRED: Final = "debt"
REDUCED: Final = "debt_reduced"
WRITE_OFF: Final = "debt_write_off"
#: What a payment of a debt is called: the rental's money, as at its end (holds.CHARGE).
PAID_AS: Final = "rental_charge"
SUCCEEDED: Final = "succeeded"

POLICY = registry.add(
    ConfigKey(
        "payments.debt_retries",
        RetryPolicy,
        RetryPolicy(),
        scope=PUBLIC,
        description="Whether and when a rider's saved card is charged by itself for what a rental left unpaid: the one "
        "that it was begun with, else the default.",
    )
)


def incur(session: Session, *, user_id: UUID, rental_id: UUID, money: Money, now: datetime) -> Debt:
    """The rental cost `money` more than there was: it is owed from now on. More of the same rental is added."""
    debt = locked(session, rental_id)
    if debt is None:
        debt = Debt(
            id=new_id(), user_id=user_id, rental_id=rental_id, currency=money.currency, amount_minor=0, paid_minor=0,
            reduced_minor=0, written_off_minor=0, open_minor=0, state=DebtState.OPEN, tries=0, incurred_at=now,
        )  # fmt: skip
    try_at = next_try(get(session, POLICY), debt.tries, now)
    debt.amount_minor += money.amount_minor
    _settle(session, debt, now)
    debt.try_at = try_at
    _book(
        session, debt, AccountKind.RECEIVABLE, AccountKind.REVENUE, money.amount_minor, kind=INCURRED,
        key=f"incurred:{debt.amount_minor}", now=now,
    )  # fmt: skip
    publish(session, DebtIncurred(debt.id, rental_id, user_id, debt.open_minor, money.currency), now)
    return debt


def locked(session: Session, rental_id: UUID) -> Debt | None:
    """The rental's debt as it is now."""
    query = select(Debt).where(Debt.rental_id == rental_id).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def pay(session: Session, rental_id: UUID, now: datetime) -> int:
    """Collect from the wallet as far as it goes; returns the minor units that moved, perhaps 0."""
    debt = locked(session, rental_id)
    if debt is None or debt.state is not DebtState.OPEN:
        return 0
    wallet = wallet_of(session, debt.user_id, debt.currency, now).account_id
    paid = min(debt.open_minor, ledger.lock_accounts(session, wallet)[wallet])
    if paid <= 0:
        return 0
    debt.paid_minor += paid
    _settle(session, debt, now)
    ledger.transfer(
        session, debit=wallet, credit=ledger.house_accounts(session, debt.currency, now)[AccountKind.RECEIVABLE],
        money=Money(paid, debt.currency), kind=PAID_AS, key=f"debt:{debt.id}:paid:{debt.paid_minor}", now=now,
        rental_id=rental_id,
    )  # fmt: skip
    publish(session, RentalDuePaid(rental_id, paid), now)
    return paid


def reduce(session: Session, rental_id: UUID, by_minor: int, now: datetime) -> tuple[int, int]:
    """The rental became cheaper by `by_minor`: as much less is owed, then less was given up.

    Returns what of `by_minor` each of both took; the rest was paid, and comes back otherwise.
    """
    debt = locked(session, rental_id)
    if debt is None:
        return 0, 0
    owed = min(by_minor, debt.open_minor)
    given_up = min(by_minor - owed, debt.written_off_minor)
    if not owed and not given_up:
        return 0, 0
    debt.reduced_minor += owed + given_up
    debt.written_off_minor -= given_up
    _settle(session, debt, now)
    for source, minor in ((AccountKind.RECEIVABLE, owed), (AccountKind.WRITE_OFF, given_up)):
        if minor:
            key = f"reduced:{debt.reduced_minor}:{source}"
            _book(session, debt, AccountKind.REVENUE, source, minor, kind=REDUCED, key=key, now=now)
    return owed, given_up


def give_up(session: Session, debt: Debt, *, memo: str, now: datetime) -> LedgerTransfer:
    """Write off what is open of it. The debt is locked and OPEN; who may do that is `write_offs`' business."""
    minor = debt.open_minor
    debt.written_off_minor += minor
    _settle(session, debt, now)
    return _book(
        session, debt, AccountKind.WRITE_OFF, AccountKind.RECEIVABLE, minor, kind=WRITE_OFF,
        key=f"written_off:{debt.reduced_minor + debt.written_off_minor}", now=now, memo=memo,
    )  # fmt: skip


def _book(
    session: Session,
    debt: Debt,
    debit: AccountKind,
    credit: AccountKind,
    minor: int,
    *,
    kind: str,
    key: str,
    now: datetime,
    memo: str | None = None,
) -> LedgerTransfer:
    house = ledger.house_accounts(session, debt.currency, now)
    return ledger.transfer(
        session, debit=house[debit], credit=house[credit], money=Money(minor, debt.currency), kind=kind,
        key=f"debt:{debt.id}:{key}", now=now, rental_id=debt.rental_id, memo=memo,
    )  # fmt: skip


def _settle(session: Session, debt: Debt, now: datetime) -> None:
    """Bring what is open, and the state, to the amounts, before anything else is asked of the database."""
    before = debt.state
    debt.open_minor = debt.amount_minor - debt.paid_minor - debt.reduced_minor - debt.written_off_minor
    debt.state = state_of(
        open_minor=debt.open_minor, paid_minor=debt.paid_minor, written_off_minor=debt.written_off_minor
    )
    debt.updated_at = now
    debt.closed_at = None if debt.open_minor else debt.closed_at or now
    if not debt.open_minor:
        debt.try_at = None
    session.add(debt)
    session.flush()  # what the database refuses belongs to this call
    if debt.state is not DebtState.OPEN and debt.state is not before:
        publish(session, DebtClosed(debt.id, debt.rental_id, debt.user_id, debt.state), now)


def collection_ended(session: Session, intent: PaymentIntent, failure: str | None, now: datetime) -> None:
    """The provider has spoken about a card's try; `failure` None: the money is in the wallet, to be collected.

    Once for one try. The next one is as the schedule says, if the schedule made this one.
    """
    query = select(DebtCollection).where(DebtCollection.intent_id == intent.id, DebtCollection.ended_at.is_(None))
    tried = session.scalars(query.with_for_update()).one_or_none()
    if tried is None:
        return
    tried.ended_at, tried.outcome = now, (failure or SUCCEEDED)[:64]
    debt = session.get_one(Debt, tried.debt_id, with_for_update=True, populate_existing=True)
    if debt.state is DebtState.OPEN:
        debt.try_at = next_try(get(session, POLICY), debt.tries, now)
    session.flush()  # the next try looks at it
    if failure is not None:
        publish(session, DebtCollectionFailed(debt.id, debt.rental_id, debt.user_id, tried.outcome, debt.try_at), now)
