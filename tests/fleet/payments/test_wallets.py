from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.money import Money
from fleet.db import new_id
from fleet.payments import wallets
from fleet.payments.errors import InsufficientFunds, TransferKeyReused
from fleet.payments.models import LedgerTransfer
from fleet.payments.wallets import WalletBalance
from tests.fleet.payments.conftest import NOW, add_rider, available, hold_for_rental


def adjust(session: Session, rider: UUID, minor: int, key: str = "k", reason: str = "goodwill") -> LedgerTransfer:
    return wallets.adjust(
        session, user_id=rider, money=Money(minor, "EUR"), reason=reason, actor_id=rider, key=key, now=NOW
    )


def test_held_money_is_there_but_not_available(session: Session, rider: UUID) -> None:
    hold_for_rental(session, user_id=rider, rental_id=new_id(), money=Money(300, "EUR"), now=NOW)
    wallet = wallets.wallet_of(session, rider, "EUR", NOW)
    assert wallets.balance(session, wallet) == WalletBalance(1000, 300, 700, "EUR")


def test_currencies_do_not_mix(session: Session, rider: UUID) -> None:
    yen = wallets.wallet_of(session, rider, "JPY", NOW)
    assert wallets.balance(session, yen) == WalletBalance(0, 0, 0, "JPY")


def test_operators_give_and_take(session: Session, rider: UUID) -> None:
    adjust(session, rider, 500, "1")
    adjust(session, rider, -200, "2")
    assert available(session, rider) == 1300


def test_an_adjustment_is_made_once(session: Session, rider: UUID) -> None:
    assert adjust(session, rider, 500).id == adjust(session, rider, 500).id
    assert available(session, rider) == 1500
    with pytest.raises(TransferKeyReused):
        adjust(session, rider, 501)


def test_a_key_may_be_as_long_as_a_client_likes(session: Session, rider: UUID) -> None:
    one, other = (adjust(session, rider, 500, "k" * 255 + end) for end in "ab")
    assert one.id != other.id
    assert adjust(session, rider, 500, "k" * 255 + "a").id == one.id


def test_keys_of_one_rider_are_nobody_elses(session: Session, rider: UUID) -> None:
    other = add_rider(session)
    assert adjust(session, rider, 500).id != adjust(session, other, 500).id


@pytest.mark.parametrize(("minor", "reason", "field"), [(0, "why", "amount_minor"), (5, " ", "reason")])
def test_an_adjustment_has_an_amount_and_a_reason(
    session: Session, rider: UUID, minor: int, reason: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        adjust(session, rider, minor, reason=reason)
    assert caught.value.attributes["field"] == field


def test_no_more_is_taken_than_there_is(session: Session, rider: UUID) -> None:
    with pytest.raises(InsufficientFunds):
        adjust(session, rider, -1001)
