from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from fleet.payments.debts.models import DebtState
from fleet.payments.debts.rules import RetryPolicy, next_try, state_of

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_the_card_is_tried_as_the_schedule_says_and_then_no_more() -> None:
    policy = RetryPolicy(after_minutes=[5, 60])
    tries = [next_try(policy, tries, NOW) for tries in range(3)]
    assert tries == [NOW + timedelta(minutes=5), NOW + timedelta(hours=1), None]


def test_no_card_is_tried_where_that_is_switched_off() -> None:
    assert next_try(RetryPolicy(card=False), 0, NOW) is None


@pytest.mark.parametrize("minutes", [[0], [-5], [10**7], [1] * 21])
def test_a_schedule_that_makes_no_sense_is_refused(minutes: list[int]) -> None:
    with pytest.raises(ValidationError):
        RetryPolicy(after_minutes=minutes)


@pytest.mark.parametrize(
    ("open_minor", "paid", "written_off", "state"),
    [
        (1, 0, 0, DebtState.OPEN),
        (1, 5, 0, DebtState.OPEN),
        (0, 5, 0, DebtState.PAID),
        (0, 5, 5, DebtState.WRITTEN_OFF),
        (0, 0, 0, DebtState.CANCELLED),
    ],
)
def test_what_became_of_it(open_minor: int, paid: int, written_off: int, state: DebtState) -> None:
    assert state_of(open_minor=open_minor, paid_minor=paid, written_off_minor=written_off) is state
