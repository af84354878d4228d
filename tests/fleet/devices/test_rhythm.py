"""What period a station really keeps, and how much silence is too much."""

from random import Random

import pytest

from firmware_protocol.dialect import Cadence
from fleet.devices.rhythm import Rhythm, is_news, period, silence_allowed

AS_ASKED = Cadence()
#: As vendors' cabinets do: one beats every 540 to 600 s whatever it is told, one every 30 s.
SLOW = Cadence(period_s=600, periods=2.1, margin_s=30)
QUICK = Cadence(period_s=30, periods=3, margin_s=5)


def learned(times: list[float]) -> float | None:
    rhythm = Rhythm()
    for at in times:
        rhythm.beat(at)
    return rhythm.period_s


def test_little_teaches_nothing() -> None:
    assert learned([]) is None
    assert learned([0, 30, 60, 90]) is None
    assert learned([0, 30, 60, 90, 120]) == 30


@pytest.mark.parametrize("gateways", [1, 2, 3])
def test_each_of_several_gateways_finds_the_same_period(gateways: int) -> None:
    """A shared subscription gives each heartbeat to one of them, by chance."""
    found = []
    for seed in range(60):
        rng = Random(seed)
        mine = [n * 600 + rng.uniform(-3, 3) for n in range(60) if rng.randrange(gateways) == 0]
        found.append(learned(mine) or 0)
    right = [each for each in found if 590 <= each <= 610]
    assert len(right) >= 40
    # The others take it for slower, and are patient.
    assert all(each >= 590 for each in found)


def test_what_waited_in_a_queue_came_late_or_twice_teaches_nothing() -> None:
    steady = [n * 30.0 for n in range(12)]
    burst = [*steady[:6], 150.1, 150.2, 150.2, 120.0, *(each + 150 for each in steady[1:])]
    assert learned(burst) == pytest.approx(30, abs=0.5)


def test_a_change_is_learned_within_a_few_heartbeats() -> None:
    times = [n * 30.0 for n in range(20)] + [570 + n * 60.0 for n in range(1, 7)]
    assert learned(times) == 30
    assert learned([*times, 990]) == 60


def test_two_and_a_half_periods_of_what_it_is_asked_for() -> None:
    assert silence_allowed(AS_ASKED, period(AS_ASKED, 30, None), 2.5) == 75
    assert silence_allowed(AS_ASKED, period(AS_ASKED, 30, 30.4), 2.5) == pytest.approx(76)
    # Slower than it is asked to be: its own ways count. Quicker: it may be slower again at any time.
    assert silence_allowed(AS_ASKED, period(AS_ASKED, 30, 120), 2.5) == 300
    assert period(AS_ASKED, 30, 5) == 30


def test_what_is_learned_is_bounded() -> None:
    assert period(AS_ASKED, 30, 90_000) == 3600
    assert period(AS_ASKED, 7200, 90_000) == 7200


@pytest.mark.parametrize("real", [540, 570, 600])
def test_a_cabinet_that_beats_every_nine_or_ten_minutes_is_away_after_twenty_two(real: float) -> None:
    allowed = silence_allowed(SLOW, period(SLOW, 30, real), 2.5)
    assert 21 * 60 <= allowed <= 22 * 60


def test_a_cabinet_that_beats_every_thirty_seconds_is_away_after_a_hundred() -> None:
    assert 90 <= silence_allowed(QUICK, period(QUICK, 30, 29.93), 2.5) <= 100
    # It was told to beat once a minute.
    assert silence_allowed(QUICK, period(QUICK, 30, 60), 2.5) == 185


def test_only_what_changed_is_news() -> None:
    assert not is_news(None, None)
    assert is_news(None, 75)
    assert is_news(75, None)
    assert not is_news(75, 76)
    assert is_news(75, 150)
