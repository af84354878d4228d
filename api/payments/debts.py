"""What a rider owes, and how they pay it."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response
from sqlalchemy.orm import Session

from api.auth import CurrentUser, WaitingUser
from api.deps import Now, RuntimeDep, SessionDep
from api.idempotency import Idempotent, replay
from api.paging import DEFAULT_LIMIT
from api.payments.debt_schemas import DebtOut, DebtPaymentOut, DebtTryOut, DebtWithTries, PayDebtIn
from api.payments.schemas import IntentOut
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments.debts import queries
from fleet.payments.debts.models import Debt, DebtState
from fleet.payments.errors import InsufficientFunds
from fleet.rentals.closing import dues

router = area("payment", "payments")


@router.get("/debts", operation_id="list_debts", summary="What I owe, and owed, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_debts(
    session: SessionDep,
    runtime: RuntimeDep,
    user: CurrentUser,
    state: Annotated[DebtState | None, Query(description="left out: all")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[DebtOut]:
    """While one is open no rental can be started. Money that comes into the wallet pays it first; when a saved card
    is charged by itself is in the public configuration (`payments.debt_retries`).
    """
    before = runtime.cursors.read("debts", cursor)
    rows = queries.find_debts(
        session, limit=limit + 1, before=UUID(before) if before else None, user_id=user.id, state=state
    )
    more = runtime.cursors.make("debts", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[DebtOut.of(row) for row in rows[:limit]], next=more)


@router.get("/debts/{debt_id}", operation_id="get_debt", summary="One of my debts, and how cards were asked to pay it",
            responses=problems(401, 403, 404))  # fmt: skip
def get_debt(debt_id: UUID, session: SessionDep, user: CurrentUser) -> DebtWithTries:
    debt = queries.debt_by_id(session, debt_id, user.id)
    tries = queries.collections_of(session, debt_id)
    return DebtWithTries(debt=DebtOut.of(debt), tries=[DebtTryOut.of(*each) for each in tries])


@router.post("/debts/{debt_id}/pay", operation_id="pay_debt", summary="Pay what I owe", response_model=DebtPaymentOut,
             responses=problems(401, 402, 403, 404, 409))  # fmt: skip
def pay_debt(
    debt_id: UUID, body: PayDebtIn, runtime: RuntimeDep, user: WaitingUser, now: Now, once: Idempotent
) -> Response:
    """From the wallet as far as it goes, older debts first (402: there is nothing in it), or by a card what the wallet
    does not pay of this one (no `intent`: it paid all). One payment of a debt at a time. The provider is called outside
    any transaction, so the answer is kept after the fact.
    """
    if body.card is None and body.method_id is None:
        with session_scope(runtime.engine) as session:
            return once.answer(session, now, lambda: _from_wallet(session, user.id, debt_id, now))
    stored = once.stored(runtime.engine, now)
    if stored is not None:
        return replay(stored)
    intent = dues.pay_by_card(
        lambda: session_scope(runtime.engine),
        user_id=user.id,
        debt_id=debt_id,
        provider=runtime.provider,
        now=now,
        method_id=body.method_id,
        card=body.card,
        return_url=runtime.settings.after_payment_url,
    )
    with session_scope(runtime.engine) as session:
        debt = queries.debt_by_id(session, debt_id, user.id)
        answer = DebtPaymentOut(debt=DebtOut.of(debt), intent=None if intent is None else IntentOut.of(intent))
        return once.answer(session, now, lambda: answer)


def _from_wallet(session: Session, user_id: UUID, debt_id: UUID, now: datetime) -> DebtPaymentOut:
    before = queries.debt_by_id(session, debt_id, user_id).open_minor
    moved = dues.collect_dues(session, user_id, now) if before else 0
    debt = queries.debt_by_id(session, debt_id, user_id)
    if before and not moved:
        raise _nothing_there(debt)
    return DebtPaymentOut(debt=DebtOut.of(debt), intent=None)


def _nothing_there(debt: Debt) -> InsufficientFunds:
    return InsufficientFunds(
        f"{Money(debt.open_minor, debt.currency)} is owed, and nothing is in the wallet",
        needed_minor=debt.open_minor,
        available_minor=0,
        currency=debt.currency,
    )
