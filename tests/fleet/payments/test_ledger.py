from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from fleet.common.errors import NotFound
from fleet.common.money import Money
from fleet.db import new_id
from fleet.payments import ledger, wallets
from fleet.payments.errors import InsufficientFunds, TransferKeyReused, TransferSettled
from fleet.payments.models import AccountKind, LedgerTransfer, TransferState
from tests.fleet.payments.conftest import NOW, add_rider, available


def euros(minor: int) -> Money:
    return Money(minor, "EUR")


@pytest.fixture
def wallet(session: Session, rider: UUID) -> UUID:
    return wallets.wallet_of(session, rider, "EUR", NOW).account_id


@pytest.fixture
def revenue(session: Session) -> UUID:
    return ledger.account_for(session, None, AccountKind.REVENUE, "EUR", NOW).id


def pay(
    session: Session, wallet: UUID, revenue: UUID, minor: int, key: str, rental_id: UUID | None = None
) -> LedgerTransfer:
    return ledger.transfer(
        session, debit=wallet, credit=revenue, money=euros(minor), kind="test", key=key, now=NOW, rental_id=rental_id
    )


def put_aside(session: Session, wallet: UUID, revenue: UUID, minor: int, key: str = "h") -> LedgerTransfer:
    return ledger.hold(session, debit=wallet, credit=revenue, money=euros(minor), kind="test", key=key, now=NOW)


def test_a_transfer_moves_money(session: Session, wallet: UUID, revenue: UUID) -> None:
    moved = pay(session, wallet, revenue, 300, "a")
    assert (moved.state, moved.posted_minor, moved.settled_at) == (TransferState.POSTED, 300, NOW)
    assert ledger.totals(session, wallet).balance_minor == 700
    ledger.apply_house_now(session)
    assert ledger.totals(session, revenue).balance_minor == 300


def test_debit_normal_accounts_grow_on_the_other_side(session: Session, wallet: UUID) -> None:
    house = ledger.account_for(session, None, AccountKind.ADJUSTMENTS, "EUR", NOW).id
    ledger.apply_house_now(session)
    assert ledger.totals(session, house).balance_minor == 1000  # what the fixture gave the rider


def test_the_same_key_moves_once(session: Session, wallet: UUID, revenue: UUID) -> None:
    first = pay(session, wallet, revenue, 300, "a")
    assert pay(session, wallet, revenue, 300, "a").id == first.id
    assert ledger.totals(session, wallet).balance_minor == 700


def test_a_retry_is_answered_even_when_the_money_is_gone(session: Session, wallet: UUID, revenue: UUID) -> None:
    first = pay(session, wallet, revenue, 1000, "a")
    assert pay(session, wallet, revenue, 1000, "a").id == first.id


def test_the_same_key_with_other_content_is_an_error(session: Session, wallet: UUID, revenue: UUID) -> None:
    pay(session, wallet, revenue, 300, "a")
    with pytest.raises(TransferKeyReused):
        pay(session, wallet, revenue, 301, "a")
    with pytest.raises(TransferKeyReused):
        pay(session, revenue, wallet, 300, "a")
    with pytest.raises(TransferKeyReused):
        pay(session, wallet, revenue, 300, "a", rental_id=new_id())
    assert ledger.totals(session, wallet).balance_minor == 700


def test_a_hold_is_not_the_transfer_of_its_key(session: Session, wallet: UUID, revenue: UUID) -> None:
    put_aside(session, wallet, revenue, 300, "a")
    with pytest.raises(TransferKeyReused):
        pay(session, wallet, revenue, 300, "a")


def test_what_is_not_there_cannot_be_spent(session: Session, wallet: UUID, revenue: UUID) -> None:
    with pytest.raises(InsufficientFunds) as caught:
        pay(session, wallet, revenue, 1001, "a")
    assert caught.value.attributes == {"needed_minor": 1001, "available_minor": 1000, "currency": "EUR"}
    pay(session, wallet, revenue, 1000, "b")  # the refusal did not spoil the transaction


def test_what_is_held_cannot_be_spent(session: Session, rider: UUID, wallet: UUID, revenue: UUID) -> None:
    put_aside(session, wallet, revenue, 400)
    assert available(session, rider) == 600
    with pytest.raises(InsufficientFunds):
        pay(session, wallet, revenue, 601, "a")
    with pytest.raises(InsufficientFunds):
        put_aside(session, wallet, revenue, 601, "h2")


@pytest.mark.parametrize("minor", [0, -1])
def test_nothing_is_not_a_transfer(session: Session, wallet: UUID, revenue: UUID, minor: int) -> None:
    with pytest.raises(ValueError, match="moves nothing"):
        pay(session, wallet, revenue, minor, "a")


def test_a_hold_posted_in_part_frees_the_rest(session: Session, wallet: UUID, revenue: UUID) -> None:
    held = put_aside(session, wallet, revenue, 400)
    posted = ledger.post(session, held.id, 150, NOW)
    assert (posted.state, posted.posted_minor, posted.amount_minor) == (TransferState.POSTED, 150, 400)
    totals = ledger.totals(session, wallet)
    assert (totals.balance_minor, totals.available_minor, totals.debits_pending) == (850, 850, 0)


def test_a_voided_hold_leaves_no_trace(session: Session, wallet: UUID, revenue: UUID) -> None:
    held = put_aside(session, wallet, revenue, 400)
    assert ledger.void(session, held.id, NOW).state is TransferState.VOIDED
    totals = ledger.totals(session, wallet)
    assert (totals.balance_minor, totals.available_minor, totals.debits_pending) == (1000, 1000, 0)


def test_settling_again_changes_nothing(session: Session, wallet: UUID, revenue: UUID) -> None:
    posted, voided = (put_aside(session, wallet, revenue, 100, key) for key in ("p", "v"))
    for _ in range(2):
        ledger.post(session, posted.id, 60, NOW)
        ledger.void(session, voided.id, NOW)
    assert ledger.totals(session, wallet).balance_minor == 940


def test_a_settled_hold_stays_as_it_is(session: Session, wallet: UUID, revenue: UUID) -> None:
    posted, voided = (put_aside(session, wallet, revenue, 100, key) for key in ("p", "v"))
    ledger.post(session, posted.id, 60, NOW)
    ledger.void(session, voided.id, NOW)
    with pytest.raises(TransferSettled):
        ledger.post(session, posted.id, 61, NOW)
    with pytest.raises(TransferSettled):
        ledger.void(session, posted.id, NOW)
    with pytest.raises(TransferSettled):
        ledger.post(session, voided.id, 60, NOW)


@pytest.mark.parametrize("minor", [0, 101])
def test_a_hold_is_posted_within_its_amount(session: Session, wallet: UUID, revenue: UUID, minor: int) -> None:
    held = put_aside(session, wallet, revenue, 100)
    with pytest.raises(ValueError, match="cannot be posted"):
        ledger.post(session, held.id, minor, NOW)


def test_there_is_nothing_to_settle_under_an_unknown_id(session: Session) -> None:
    with pytest.raises(NotFound):
        ledger.post(session, new_id(), 1, NOW)
    with pytest.raises(NotFound):
        ledger.void(session, new_id(), NOW)


def test_accounts_are_opened_once(session: Session) -> None:
    rider = add_rider(session)
    bonus = {ledger.account_for(session, rider, AccountKind.BONUS, "EUR", NOW).id for _ in range(3)}
    house = {ledger.account_for(session, None, AccountKind.TAX, "JPY", NOW).id for _ in range(3)}
    assert len(bonus) == len(house) == 1
