"""The model's own sums, by hand: what everything else is compared with."""

from datetime import datetime, timedelta

import pytest

from tests.model.fares import HOUR, ZONE, Fare, Package, used
from tests.model.town import COMMON, OWN

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 3, 28, 12, tzinfo=ZONE)
TWO_HOURS = Package(2 * HOUR, 180)


@pytest.mark.parametrize(
    ("fare", "time", "packages", "kept", "minor"),
    [
        (COMMON, timedelta(0), [], False, 100),
        (COMMON, MINUTE, [], False, 150),
        (COMMON, 30 * MINUTE, [], False, 150),
        (COMMON, 61 * MINUTE, [], False, 250),
        # 12 hours of the first day reach its cap, 12 of the next one too.
        (COMMON, 12 * HOUR, [], False, 1100),
        (COMMON, 24 * HOUR, [], False, 2100),
        # Not back half a day after that: lost, under the cap of 30.00.
        (COMMON, 36 * HOUR, [], False, 2100),
        (COMMON, 36 * HOUR, [], True, 2800),
        (COMMON, 72 * HOUR, [], True, 3000),
        (COMMON, HOUR, [TWO_HOURS], False, 180),
        (COMMON, 2 * HOUR + 31 * MINUTE, [TWO_HOURS], False, 280),
        (COMMON, 5 * HOUR, [TWO_HOURS, TWO_HOURS], False, 360 + 100),
        (OWN, 5 * MINUTE, [], False, 0),
        (OWN, 6 * MINUTE, [], False, 150),
        # Due after three hours; two minutes later nothing is late yet, then the hour that has begun is.
        (OWN, 3 * HOUR + 2 * MINUTE, [], False, 100 + 6 * 50),
        (OWN, 3 * HOUR + 3 * MINUTE, [], False, 100 + 6 * 50 + 40),
        (OWN, 5 * HOUR + MINUTE, [], False, 100 + 10 * 50 + 3 * 40),
    ],
)
def test_what_time_costs(fare: Fare, time: timedelta, packages: list[Package], kept: bool, minor: int) -> None:
    assert fare.cost(NOON, time, packages, kept=kept) == minor


@pytest.mark.parametrize(
    ("fare", "time", "packages", "kept", "minor"),
    [
        (COMMON, 40 * MINUTE, [], False, 100),
        (COMMON, HOUR, [], False, 150),
        (COMMON, 2 * HOUR + 31 * MINUTE, [TWO_HOURS], False, 180),
        (OWN, 45 * MINUTE, [], False, 0),
        (OWN, 46 * MINUTE, [], False, 150),
        # Late is late, and nothing buys a bank.
        (OWN, 5 * HOUR, [], False, 100 + 9 * 50 + 2 * 40),
        (COMMON, 36 * HOUR, [], True, 2800),
    ],
)
def test_what_the_last_forty_minutes_do_not_cost(
    fare: Fare, time: timedelta, packages: list[Package], kept: bool, minor: int
) -> None:
    assert fare.cost(NOON, time, packages, kept=kept, granted=40 * MINUTE) == minor


def test_pauses_stop_the_clock_and_overlap_once() -> None:
    pauses = [(NOON + HOUR, NOON + 2 * HOUR), (NOON + 90 * MINUTE, NOON + 150 * MINUTE), (NOON + 200 * MINUTE, None)]
    assert used(NOON, NOON + 4 * HOUR, pauses) == HOUR + 50 * MINUTE
    assert used(NOON, NOON + HOUR, pauses) == HOUR
    assert used(NOON, NOON, pauses) == timedelta(0)
