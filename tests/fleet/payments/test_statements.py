from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.db import new_id
from fleet.payments import holds, ledger, wallets
from fleet.payments.models import AccountKind, TransferState
from fleet.payments.statements import StatementLine, line_of, statement, transfers_of, words_for
from tests.fleet.payments.conftest import NOW, add_rider, hold_for_rental

HOUR = timedelta(hours=1)


def euros(minor: int) -> Money:
    return Money(minor, "EUR")


def account(session: Session, rider: UUID) -> UUID:
    return wallets.wallet_of(session, rider, "EUR", NOW).account_id


def adjust(session: Session, rider: UUID, minor: int, key: str) -> UUID:
    return wallets.adjust(
        session, user_id=rider, money=euros(minor), reason="goodwill", actor_id=rider, key=key, now=NOW
    ).id


def told(line: StatementLine) -> tuple[str, str, int, int | None, TransferState, UUID | None]:
    return line.kind, line.text, line.amount_minor, line.balance_minor, line.state, line.rental_id


def test_a_statement_tells_what_happened_in_words_of_riders(session: Session, rider: UUID) -> None:
    """A captured hold is a rental; holds that are open come first; a released one was nothing."""
    rental, other = new_id(), new_id()
    held = hold_for_rental(session, user_id=rider, rental_id=rental, money=euros(300), now=NOW)
    holds.capture_for_rental(
        session, hold_id=held.id, rental_id=rental, user_id=rider, now=NOW + HOUR,
        parts=[(AccountKind.REVENUE, euros(120))],
    )  # fmt: skip
    holds.refund_rental(session, rental_id=rental, money=euros(20), reason="jam", key="1", now=NOW + 2 * HOUR)
    hold_for_rental(session, user_id=rider, rental_id=other, money=euros(200), now=NOW)
    released = hold_for_rental(session, user_id=rider, rental_id=new_id(), money=euros(50), now=NOW)
    ledger.void(session, released.id, NOW)
    adjust(session, rider, -100, "back")
    page = statement(session, account(session, rider), 10)
    assert [told(line) for line in page.lines] == [
        ("rental_hold", "Held for a rental", -200, None, TransferState.PENDING, other),
        ("adjustment", "Taken back by customer service", -100, 800, TransferState.POSTED, None),
        ("rental_refund", "Refund for a rental", 20, 900, TransferState.POSTED, rental),
        ("rental_charge", "Rental", -120, 880, TransferState.POSTED, rental),
        ("adjustment", "Credit from customer service", 1000, 1000, TransferState.POSTED, None),
    ]
    assert page.next is None
    assert page.lines[3].at == NOW + HOUR


def test_lines_stand_in_the_order_in_which_money_moved(session: Session, rider: UUID) -> None:
    """A hold that was made first and captured last is the last line: balances would contradict themselves otherwise."""
    rental = new_id()
    held = hold_for_rental(session, user_id=rider, rental_id=rental, money=euros(300), now=NOW)
    adjust(session, rider, 50, "in between")
    ledger.post(session, held.id, 300, NOW + HOUR)
    lines = statement(session, account(session, rider), 10).lines
    assert [(line.amount_minor, line.balance_minor) for line in lines] == [(-300, 750), (50, 1050), (1000, 1000)]


def test_a_statement_is_read_in_pages_that_neither_miss_nor_repeat(session: Session, rider: UUID) -> None:
    for number in range(6):
        adjust(session, rider, number + 1, str(number))
    hold_for_rental(session, user_id=rider, rental_id=new_id(), money=euros(200), now=NOW)
    seen: list[int] = []
    before: int | None = None
    while True:
        page = statement(session, account(session, rider), 3, before)
        assert len(page.lines) <= 3
        seen += [line.amount_minor for line in page.lines]
        if page.next is None:
            break
        adjust(session, rider, 100, f"meanwhile {page.next}")  # new lines do not disturb the pages that follow
        before = page.next
    assert seen == [-200, 6, 5, 4, 3, 2, 1, 1000]


def test_a_page_costs_what_it_costs_whatever_came_before(session: Session, rider: UUID) -> None:
    """Two statements and two index walks: no plan of it sorts or adds up the history."""
    own = account(session, rider)
    for number in range(30):
        adjust(session, rider, 1, str(number))
    plans: list[str] = []
    seen: list[tuple[str, object]] = []
    engine = session.get_bind()

    def note(_connection: object, _cursor: object, query: str, parameters: object, *_: object) -> None:
        seen.append((query, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        statement(session, own, 5)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(seen) == 2
    for other_way in ("seqscan", "bitmapscan", "sort", "hashjoin"):  # so that only what is impossible is not planned
        session.execute(text(f"SET LOCAL enable_{other_way} = off"))
    for query, parameters in seen:
        rows = session.connection().exec_driver_sql(f"EXPLAIN {query}", parameters)  # type: ignore[arg-type]  # as sent
        plans.append("\n".join(row[0] for row in rows))
    assert "Sort" not in "".join(plans)
    assert "ix_ledger_transfer_pending" in plans[0]
    assert "pk_wallet_transaction" in plans[1]


def test_the_line_of_a_transfer_is_found(session: Session, rider: UUID) -> None:
    moved = adjust(session, rider, 50, "k")
    adjust(session, rider, 7, "after")
    assert line_of(session, account(session, rider), moved).balance_minor == 1050


def test_a_kind_without_words_is_called_by_its_name() -> None:
    assert words_for("gift_card", 100) == "Gift card"


def test_operators_see_the_houses_transfers_in_pages(session: Session, rider: UUID) -> None:
    moved = [adjust(session, rider, 10 if number % 2 else -10, str(number)) for number in range(5)]
    house = ledger.house_accounts(session, "EUR", NOW)[AccountKind.ADJUSTMENTS]
    first = transfers_of(session, house, 4)
    second = transfers_of(session, house, 4, before=first[-1].id)
    assert [each.id for each in (*first, *second)][:5] == moved[::-1]
    assert len(first) + len(second) == 6  # the rider's first money too


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE wallet_transaction SET balance_minor = 0",
        "DELETE FROM wallet_transaction",
        "TRUNCATE wallet_transaction",
        """INSERT INTO wallet_transaction (account_id, transfer_id, amount_minor, balance_minor, at)
           SELECT account_id, transfer_id, 1, 1, at FROM wallet_transaction LIMIT 1""",
    ],
)
def test_nobody_writes_lines_by_hand(session: Session, rider: UUID, damage: str) -> None:
    with pytest.raises(IntegrityError, match="append-only"), session.begin_nested():
        session.execute(text(damage))


@pytest.mark.parametrize("kind", [AccountKind.PROVIDER_CLEARING, AccountKind.REFUNDS, AccountKind.PAYOUTS])
def test_points_money_is_not_withdrawable(session: Session, rider: UUID, kind: AccountKind) -> None:
    """It pays for rides. No code can make cash of it: not to a card, not to a bank, not to a wallet."""
    wallets.adjust(
        session, user_id=rider, money=euros(500), reason="points", actor_id=rider, key="p", now=NOW,
        account=AccountKind.BONUS,
    )  # fmt: skip
    points = wallets.account_of(session, rider, AccountKind.BONUS, "EUR", NOW)
    house = ledger.house_accounts(session, "EUR", NOW)

    def pay(credit: UUID, key: str) -> None:
        with session.begin_nested():
            ledger.transfer(session, debit=points, credit=credit, money=euros(100), kind="test", key=key, now=NOW)

    pay(house[AccountKind.REVENUE], "a ride")
    for number, cash in enumerate((house[kind], account(session, rider), account(session, add_rider(session)))):
        with pytest.raises(IntegrityError, match="cash of points"):
            pay(cash, f"out {number}")
    with pytest.raises(IntegrityError, match="cash of points"), session.begin_nested():
        ledger.hold(session, debit=points, credit=house[kind], money=euros(100), kind="test", key="held", now=NOW)
    assert ledger.totals(session, points).available_minor == 400
