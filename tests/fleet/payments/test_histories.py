"""A rider's transactions: all purses in one list, as the ledger has them."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.db import new_id
from fleet.payments import holds, ledger
from fleet.payments.histories import transactions_of
from fleet.payments.models import AccountKind, TransferState
from fleet.payments.transaction_models import Transaction
from tests.fleet.payments.conftest import NOW, add_rider, hold_for_rental


def euros(minor: int) -> Money:
    return Money(minor, "EUR")


def points(session: Session, rider: UUID, minor: int) -> None:
    house = ledger.house_accounts(session, "EUR", NOW)[AccountKind.ADJUSTMENTS]
    bonus = ledger.account_for(session, rider, AccountKind.BONUS, "EUR", NOW).id
    ledger.transfer(session, debit=house, credit=bonus, money=euros(minor), kind="points", key=f"p:{rider}", now=NOW)


def told(rows: list[Transaction]) -> list[tuple[AccountKind, str, int, TransferState]]:
    return [(row.purse, row.kind, row.amount_minor, row.state) for row in rows]


def test_all_that_moved_or_may_move_a_riders_money_newest_first(session: Session, rider: UUID) -> None:
    rental, other = new_id(), new_id()
    points(session, rider, 70)
    held = hold_for_rental(session, user_id=rider, rental_id=rental, money=euros(300), now=NOW)
    holds.capture_for_rental(
        session, hold_id=held.id, rental_id=rental, user_id=rider, now=NOW, points_max_minor=None,
        parts=[(AccountKind.REVENUE, euros(120))],
    )  # fmt: skip
    released = hold_for_rental(session, user_id=rider, rental_id=other, money=euros(50), now=NOW)
    ledger.void(session, released.id, NOW)
    hold_for_rental(session, user_id=rider, rental_id=new_id(), money=euros(200), now=NOW)
    wallet, bonus = AccountKind.WALLET, AccountKind.BONUS
    rows = transactions_of(session, rider, 10)
    assert told(rows) == [
        (wallet, "rental_hold", -200, TransferState.PENDING),
        (wallet, "rental_hold", -50, TransferState.VOIDED),
        (bonus, "rental_charge", -70, TransferState.POSTED),
        (wallet, "rental_hold", -50, TransferState.POSTED),
        (bonus, "points", 70, TransferState.POSTED),
        (wallet, "adjustment", 1000, TransferState.POSTED),
    ]
    assert [row.amount_minor for row in transactions_of(session, rider, 10, rental_id=rental)] == [-70, -50]
    paged = [transactions_of(session, rider, 2, before=before) for before in (None, rows[1].id, rows[3].id, rows[5].id)]
    assert [row.id for page in paged for row in page] == [row.id for row in rows]


def test_the_view_of_everybody_is_the_same(session: Session, rider: UUID) -> None:
    add_rider(session, 500)
    points(session, rider, 70)
    seen = session.scalars(select(Transaction).where(Transaction.user_id == rider).order_by(Transaction.id.desc()))
    assert told(list(seen)) == told(transactions_of(session, rider, 10))


def test_nobody_sees_anothers(session: Session, rider: UUID) -> None:
    assert transactions_of(session, new_id(), 10) == []
    assert len(transactions_of(session, rider, 10)) == 1
