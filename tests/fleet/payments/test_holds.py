from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from fleet.common.errors import NotFound
from fleet.common.money import Money
from fleet.db import new_id
from fleet.payments import holds, ledger, proof
from fleet.payments.errors import InsufficientFunds, RefundTooLarge, TransferKeyReused, TransferSettled
from fleet.payments.holds import CaptureResult
from fleet.payments.models import AccountKind, TransferState
from tests.fleet.payments.conftest import NOW, add_rider, available, hold_for_rental

UNLOCK, USAGE, BUYOUT = AccountKind.UNLOCK_FEES, AccountKind.REVENUE, AccountKind.BUYOUT_REVENUE


def euros(minor: int) -> Money:
    return Money(minor, "EUR")


@pytest.fixture
def rental() -> UUID:
    return new_id()


def hold(session: Session, rider: UUID, rental: UUID, minor: int = 500) -> UUID:
    return hold_for_rental(session, user_id=rider, rental_id=rental, money=euros(minor), now=NOW).id


def capture(
    session: Session, rider: UUID, rental: UUID, held: UUID | None, *parts: tuple[AccountKind, int]
) -> CaptureResult:
    return holds.capture_for_rental(
        session,
        hold_id=held,
        rental_id=rental,
        user_id=rider,
        parts=[(kind, euros(minor)) for kind, minor in parts],
        now=NOW,
    )


def earned(session: Session, kind: AccountKind) -> int:
    ledger.apply_house_now(session)
    return ledger.totals(session, ledger.house_accounts(session, "EUR", NOW)[kind]).balance_minor


@pytest.fixture(autouse=True)
def books_are_right(session: Session) -> object:
    yield
    assert proof.prove(session, NOW).problems == ()


def test_a_hold_is_made_once_per_rental(session: Session, rider: UUID, rental: UUID) -> None:
    assert hold(session, rider, rental) == hold(session, rider, rental)
    assert available(session, rider) == 500


def test_a_rider_without_the_money_gets_no_hold(session: Session, rider: UUID, rental: UUID) -> None:
    with pytest.raises(InsufficientFunds):
        hold(session, rider, rental, 1001)


def test_the_price_comes_out_of_the_hold(session: Session, rider: UUID, rental: UUID) -> None:
    held = hold(session, rider, rental)
    assert capture(session, rider, rental, held, (UNLOCK, 100), (USAGE, 250)) == CaptureResult(350, 0)
    assert available(session, rider) == 650
    assert (earned(session, UNLOCK), earned(session, USAGE)) == (100, 250)


def test_a_price_beyond_the_hold_comes_out_of_the_wallet(session: Session, rider: UUID, rental: UUID) -> None:
    held = hold(session, rider, rental)
    assert capture(session, rider, rental, held, (UNLOCK, 100), (USAGE, 700)) == CaptureResult(800, 0)
    assert available(session, rider) == 200
    assert (earned(session, UNLOCK), earned(session, USAGE)) == (100, 700)


def test_a_price_beyond_the_wallet_is_due(session: Session, rider: UUID, rental: UUID) -> None:
    held = hold(session, rider, rental)
    assert capture(session, rider, rental, held, (UNLOCK, 100), (USAGE, 1200)) == CaptureResult(1000, 300)
    assert available(session, rider) == 0
    assert (earned(session, UNLOCK), earned(session, USAGE)) == (100, 900)


def test_other_holds_are_not_touched(session: Session, rider: UUID, rental: UUID) -> None:
    held, other = hold(session, rider, rental, 300), hold(session, rider, new_id(), 600)
    assert capture(session, rider, rental, held, (USAGE, 1000)) == CaptureResult(400, 600)
    ledger.void(session, other, NOW)
    assert available(session, rider) == 600


def test_a_hold_for_another_account_is_voided(session: Session, rider: UUID, rental: UUID) -> None:
    held = hold(session, rider, rental)
    assert capture(session, rider, rental, held, (BUYOUT, 700)) == CaptureResult(700, 0)
    assert earned(session, BUYOUT) == 700
    assert ledger.void(session, held, NOW).state is TransferState.VOIDED


def test_a_free_rental_costs_nothing(session: Session, rider: UUID, rental: UUID) -> None:
    held = hold(session, rider, rental)
    assert capture(session, rider, rental, held) == CaptureResult(0, 0)
    assert available(session, rider) == 1000


def test_a_rental_without_a_hold_is_charged(session: Session, rider: UUID, rental: UUID) -> None:
    assert capture(session, rider, rental, None, (USAGE, 300)) == CaptureResult(300, 0)


def test_a_rental_whose_hold_was_released_is_charged(session: Session, rider: UUID, rental: UUID) -> None:
    held = hold(session, rider, rental)
    ledger.void(session, held, NOW)
    assert capture(session, rider, rental, held, (USAGE, 300)) == CaptureResult(300, 0)
    assert available(session, rider) == 700


def test_a_rental_is_charged_once(session: Session, rider: UUID, rental: UUID) -> None:
    held = hold(session, rider, rental)
    for _ in range(3):
        assert capture(session, rider, rental, held, (UNLOCK, 100), (USAGE, 700)) == CaptureResult(800, 0)
    assert available(session, rider) == 200


def test_an_empty_wallet_owes_everything(session: Session, rental: UUID) -> None:
    rider = add_rider(session)
    for _ in range(2):
        assert capture(session, rider, rental, None, (USAGE, 300)) == CaptureResult(0, 300)


def test_a_charge_does_not_become_smaller(session: Session, rider: UUID, rental: UUID) -> None:
    capture(session, rider, rental, None, (USAGE, 300))
    with pytest.raises(TransferKeyReused):
        capture(session, rider, rental, None, (USAGE, 200))


def test_parts_are_one_per_kind_and_of_one_currency(session: Session, rider: UUID, rental: UUID) -> None:
    with pytest.raises(ValueError, match="one per kind"):
        capture(session, rider, rental, None, (USAGE, 1), (USAGE, 2))
    with pytest.raises(ValueError, match="one currency"):
        holds.capture_for_rental(
            session, hold_id=None, rental_id=rental, user_id=rider, now=NOW,
            parts=[(USAGE, euros(1)), (UNLOCK, Money(1, "USD"))],
        )  # fmt: skip


def test_what_was_captured_is_not_released(session: Session, rider: UUID, rental: UUID) -> None:
    held = hold(session, rider, rental)
    capture(session, rider, rental, held, (USAGE, 300))
    with pytest.raises(TransferSettled):
        ledger.void(session, held, NOW)


def test_refunds_go_back_to_the_wallet_that_paid(session: Session, rider: UUID, rental: UUID) -> None:
    capture(session, rider, rental, hold(session, rider, rental), (UNLOCK, 100), (USAGE, 300))
    for _ in range(2):  # the second is a retry
        holds.refund_rental(session, rental_id=rental, money=euros(150), reason="broken", key="1", now=NOW)
    assert available(session, rider) == 750
    assert earned(session, AccountKind.REFUNDS) == 150
    with pytest.raises(RefundTooLarge) as caught:
        holds.refund_rental(session, rental_id=rental, money=euros(251), reason="more", key="2", now=NOW)
    assert caught.value.attributes == {"left_minor": 250}
    holds.refund_rental(session, rental_id=rental, money=euros(250), reason="all", key="3", now=NOW)
    assert available(session, rider) == 1000


def test_what_was_not_charged_is_not_refunded(session: Session, rider: UUID, rental: UUID) -> None:
    hold(session, rider, rental)
    with pytest.raises(NotFound):
        holds.refund_rental(session, rental_id=rental, money=euros(1), reason="x", key="1", now=NOW)
    capture(session, rider, rental, None, (USAGE, 300))
    with pytest.raises(NotFound):
        holds.refund_rental(session, rental_id=rental, money=Money(1, "USD"), reason="x", key="1", now=NOW)
