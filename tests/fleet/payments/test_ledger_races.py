"""Fifty transactions at once: no deadlock, no overdraft, nothing twice, and the books still add up."""

from uuid import UUID

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from fleet.common.money import Money
from fleet.db import new_id, session_scope
from fleet.payments import holds, ledger, proof, wallets
from fleet.payments.errors import InsufficientFunds, TransferSettled
from fleet.payments.models import AccountKind
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW, THREADS, add_rider, available, hold_for_rental
from tests.fleet.payments.test_ledger_rules import INSERT, row


def euros(minor: int) -> Money:
    return Money(minor, "EUR")


def prove(books: Engine) -> None:
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def left(books: Engine, rider: UUID) -> int:
    with session_scope(books) as session:
        return available(session, rider)


def accounts(books: Engine, rider: UUID) -> tuple[UUID, UUID]:
    with session_scope(books) as session:
        wallet = wallets.wallet_of(session, rider, "EUR", NOW).account_id
        return wallet, ledger.house_accounts(session, "EUR", NOW)[AccountKind.REVENUE]


def test_transfers_stop_where_the_money_ends(books: Engine, committed_rider: UUID) -> None:
    wallet, revenue = accounts(books, committed_rider)

    def pay(number: int) -> None:
        with session_scope(books) as session:
            key = f"race:{number}"
            ledger.transfer(session, debit=wallet, credit=revenue, money=euros(70), kind="test", key=key, now=NOW)

    outcomes = together(THREADS, pay)
    assert outcomes.count(None) == 14  # 980 in all
    assert {type(outcome) for outcome in outcomes if outcome is not None} == {InsufficientFunds}
    assert left(books, committed_rider) == 20
    prove(books)


def test_the_database_alone_stops_an_overdraft(books: Engine, committed_rider: UUID) -> None:
    wallet, revenue = accounts(books, committed_rider)

    def pay(number: int) -> None:
        values = row(wallet, revenue, amount=70, posted=70, key=str(number))
        with session_scope(books) as session:
            session.execute(text(INSERT), values)

    outcomes = together(THREADS, pay)
    assert outcomes.count(None) == 14
    assert {type(outcome) for outcome in outcomes if outcome is not None} == {IntegrityError}
    assert left(books, committed_rider) == 20
    prove(books)


def test_one_key_moves_once(books: Engine, committed_rider: UUID) -> None:
    wallet, revenue = accounts(books, committed_rider)

    def pay(_: int) -> UUID:
        with session_scope(books) as session:
            return ledger.transfer(
                session, debit=wallet, credit=revenue, money=euros(70), kind="test", key="once", now=NOW
            ).id

    outcomes = together(THREADS, pay)
    assert len(set(outcomes)) == 1
    assert isinstance(outcomes[0], UUID)
    assert left(books, committed_rider) == 930


def test_opposite_directions_do_not_deadlock(books: Engine) -> None:
    with session_scope(books) as session:
        pair = [add_rider(session, 1000), add_rider(session, 1000)]
    first, second = (accounts(books, rider)[0] for rider in pair)

    def swap(number: int) -> None:
        sides = (first, second) if number % 2 else (second, first)
        with session_scope(books) as session:
            for step in range(3):
                ledger.transfer(
                    session, debit=sides[step % 2], credit=sides[1 - step % 2], money=euros(7), kind="test",
                    key=f"{number}:{step}", now=NOW,
                )  # fmt: skip

    assert together(THREADS, swap) == [None] * THREADS
    assert [left(books, rider) for rider in pair] == [1000, 1000]
    prove(books)


def test_riders_who_pay_different_house_accounts_do_not_deadlock(books: Engine) -> None:
    """Every transaction credits three house accounts, each in another order, and holds its wallet meanwhile."""
    with session_scope(books) as session:
        riders = [add_rider(session, 1000) for _ in range(THREADS)]
        house = ledger.house_accounts(session, "EUR", NOW)
    kinds = [AccountKind.REVENUE, AccountKind.UNLOCK_FEES, AccountKind.TAX]

    def pay(number: int) -> None:
        with session_scope(books) as session:
            wallet = wallets.wallet_of(session, riders[number], "EUR", NOW).account_id
            for step in range(3):
                kind = kinds[(number + step) % 3]
                ledger.transfer(
                    session, debit=wallet, credit=house[kind], money=euros(10), kind="test", key=f"{number}:{kind}",
                    now=NOW,
                )  # fmt: skip

    assert together(THREADS, pay) == [None] * THREADS
    with session_scope(books) as session:
        assert [ledger.totals(session, house[kind]).balance_minor for kind in kinds] == [500] * 3
    prove(books)


def test_a_hold_is_settled_once(books: Engine, committed_rider: UUID) -> None:
    """Half the threads capture it, half release it: one wins, its repetitions agree, the others are told."""
    wallet, revenue = accounts(books, committed_rider)
    with session_scope(books) as session:
        held = ledger.hold(session, debit=wallet, credit=revenue, money=euros(500), kind="test", key="h", now=NOW).id

    def settle(number: int) -> str:
        with session_scope(books) as session:
            done = ledger.post(session, held, 200, NOW) if number % 2 else ledger.void(session, held, NOW)
            return done.state.value

    outcomes = together(THREADS, settle)
    won = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(won) == THREADS // 2
    assert len(set(won)) == 1
    assert all(isinstance(outcome, (str, TransferSettled)) for outcome in outcomes)
    assert left(books, committed_rider) == (800 if won[0] == "posted" else 1000)
    prove(books)


def test_a_rental_is_charged_once(books: Engine, committed_rider: UUID) -> None:
    rental = new_id()
    with session_scope(books) as session:
        held = hold_for_rental(session, user_id=committed_rider, rental_id=rental, money=euros(500), now=NOW).id

    def close(_: int) -> holds.CaptureResult:
        parts = [(AccountKind.UNLOCK_FEES, euros(100)), (AccountKind.REVENUE, euros(650))]
        with session_scope(books) as session:
            return holds.capture_for_rental(
                session, hold_id=held, rental_id=rental, user_id=committed_rider, parts=parts, now=NOW
            )

    assert together(THREADS, close) == [holds.CaptureResult(750, 0)] * THREADS
    assert left(books, committed_rider) == 250
    prove(books)


def test_refunds_never_exceed_the_charge(books: Engine, committed_rider: UUID) -> None:
    rental = new_id()
    with session_scope(books) as session:
        holds.capture_for_rental(
            session, hold_id=None, rental_id=rental, user_id=committed_rider,
            parts=[(AccountKind.REVENUE, euros(500))], now=NOW,
        )  # fmt: skip

    def refund(number: int) -> None:
        with session_scope(books) as session:
            holds.refund_rental(session, rental_id=rental, money=euros(120), reason="test", key=str(number), now=NOW)

    assert together(THREADS, refund).count(None) == 4
    assert left(books, committed_rider) == 980
    prove(books)


@pytest.mark.parametrize("currency", ["EUR", "JPY"])
def test_accounts_and_wallets_are_opened_once(books: Engine, currency: str) -> None:
    with session_scope(books) as session:
        rider = add_rider(session)

    def first_use(_: int) -> tuple[UUID, UUID]:
        with session_scope(books) as session:
            wallet = wallets.wallet_of(session, rider, currency, NOW)
            return wallet.id, ledger.house_accounts(session, currency, NOW)[AccountKind.REVENUE]

    outcomes = together(THREADS, first_use)
    assert len(set(outcomes)) == 1
    assert isinstance(outcomes[0], tuple)
