"""What a quote says is what is charged: to the second at interval boundaries, over changes of the clock, whatever
becomes of the tariff in mid-rental. The sum is made here once more, one interval after the other.
"""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.orm import Session

from fleet.rentals.models import RentalState
from fleet.rentals.pricing.terms import Multiplier
from fleet.rentals.starts import quotes
from fleet.rentals.tariffs.edits import revise_tariff
from fleet.rentals.tariffs.models import Tariff
from fleet.rentals.tariffs.queries import tariff_in_force
from tests.fleet.rentals.world import HOUR, MINUTE, SECOND, World

ZURICH = ZoneInfo("Europe/Zurich")
LENGTH = 30 * MINUTE
#: Nights are half price, Sundays' noons dear; 4.00 a day.
MULTIPLIERS = (Multiplier((1, 2, 3, 4, 5, 6, 7), 0, 6, 5_000), Multiplier((7,), 11, 13, 20_000))
CAP = 400


def expected(started: datetime, used: timedelta) -> int:
    days: dict[date, int] = defaultdict(int)
    begins = started
    while begins < started + used:
        local = begins.astimezone(ZURICH)
        factor = 0.5 if local.hour < 6 else 2 if local.isoweekday() == 7 and 11 <= local.hour < 13 else 1
        days[local.date()] += int(50 * factor)
        begins += LENGTH
    return 100 + sum(min(day, CAP) for day in days.values())


#: An ordinary day; the hour that is there twice; the hour that is not there; just before midnight.
STARTS = (
    datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    datetime(2026, 10, 24, 23, 40, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 30, 0, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 0, 31, tzinfo=UTC),
    datetime(2026, 3, 28, 22, 59, 59, 999_999, tzinfo=UTC),
)
DURATIONS = (
    LENGTH - SECOND, LENGTH, LENGTH + timedelta(microseconds=1), LENGTH + SECOND, 4 * LENGTH, 4 * LENGTH + SECOND,
    9 * HOUR - SECOND, 9 * HOUR, 23 * HOUR, 24 * HOUR + SECOND,
)  # fmt: skip


@pytest.mark.parametrize("duration", DURATIONS, ids=str)
@pytest.mark.parametrize("started", STARTS, ids=str)
def test_what_was_quoted_is_charged(session: Session, started: datetime, duration: timedelta) -> None:
    world = World(session, started)
    _dear_days(world)
    found = quotes.quote(
        session, user_id=world.rider, station_code="A", now=started, policy=world.policy, duration=duration
    )
    rental = world.start()
    command = world.send(rental)
    world.ejected("A", rental.slot_out, world.serial(rental), command)
    world.later(duration / 2)
    _double_the_price(world)
    world.later(started + duration - world.now)
    world.inserted("B", 1, world.serial(rental))
    assert rental.state is RentalState.COMPLETED
    assert rental.charged_minor == rental.price_minor == found.price.total_minor == expected(started, duration)
    assert found.price.total_minor == sum(line.amount_minor for line in found.price.lines)
    assert world.money() == (5000 - rental.charged_minor, 0)
    world.check_everything()


def _dear_days(world: World) -> None:
    world.stations["A"].time_zone = str(ZURICH)
    _revised(world, multipliers=MULTIPLIERS, daily_cap_minor=CAP)


def _double_the_price(world: World) -> None:
    _revised(world, unlock_minor=999, interval_minor=999, daily_cap_minor=0)


def _revised(world: World, **changes: object) -> Tariff:
    held = tariff_in_force(world.session, world.stations["A"], world.now)
    assert held is not None
    tariff = revise_tariff(
        world.session,
        held.tariff_id,
        replace(held.terms, **changes),  # type: ignore[arg-type]  # of several types
        world.now,
    )
    world.session.flush()
    return tariff
