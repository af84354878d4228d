"""What a gateway finds out of stations' ways, and when it writes that down."""

from collections.abc import Set as AbstractSet
from threading import Event, Thread

import pytest

from device_gateway import dialects
from device_gateway.directory import Directory, StationRef
from device_gateway.habits import Habits
from firmware_protocol.dialect import Cadence, Capabilities
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import Heartbeat
from fleet.devices.presence import Habit

NATIVE_ONE, SLOW_ONE = 1, 2


SLOW = Capabilities(
    sequence_numbers=False,
    command_ids=False,
    honours_deadline=False,
    journal=False,
    command_qos=0,
    commands=frozenset(),
    cadence=Cadence(period_s=600, periods=2.1, margin_s=30),
)


@pytest.fixture
def habits(monkeypatch: pytest.MonkeyPatch) -> Habits:
    monkeypatch.setitem(dialects.CAPABILITIES, "slow", SLOW)
    directory = Directory()
    directory._by_id = {
        NATIVE_ONE: StationRef(NATIVE_ONE, "A", NATIVE.name, 30, 4),
        SLOW_ONE: StationRef(SLOW_ONE, "B", "slow", 30, 4),
    }
    return Habits(directory, 2.5)


def beats(habits: Habits, station_id: int, times: range, *, mains: bool | None = None) -> None:
    habits.beats((station_id, float(at), Heartbeat(mains=mains)) for at in times)


def test_the_first_word_is_enough_to_go_by_what_the_dialect_says(habits: Habits) -> None:
    """A slow cabinet must not be away before its first heartbeat."""
    habits.heard({NATIVE_ONE, SLOW_ONE})
    assert sorted(habits.news()) == [Habit(NATIVE_ONE, None, None, None), Habit(SLOW_ONE, 600, 1290, None)]


def test_what_is_written_is_written_again_only_when_it_changed(habits: Habits) -> None:
    beats(habits, NATIVE_ONE, range(0, 300, 30), mains=True)
    news = habits.news()
    assert news == [Habit(NATIVE_ONE, None, None, mains=True)]
    habits.heard({NATIVE_ONE})
    assert habits.news() == news  # it was not written yet
    habits.written(news)
    beats(habits, NATIVE_ONE, range(300, 600, 30), mains=True)
    assert habits.news() == []
    beats(habits, NATIVE_ONE, range(600, 1400, 100), mains=True)
    assert habits.news() == [Habit(NATIVE_ONE, 100, 250, mains=True)]
    beats(habits, NATIVE_ONE, range(1400, 1401), mains=False)
    [changed] = habits.news()
    assert changed.mains is False


def test_a_cabinets_temperature_is_news_by_whole_degrees(habits: Habits) -> None:
    def told(celsius: float | None) -> list[float | None]:
        habits.beats([(NATIVE_ONE, 0.0, Heartbeat(temperature_c=celsius))])
        news = habits.news()
        habits.written(news)
        return [each.temperature_c for each in news]

    assert [told(each) for each in (31.2, 31.9, 32.0, 31.9, None, -0.5, 0.4)] == [
        [31.2], [], [32.0], [31.9], [None], [-0.5], [0.4]
    ]  # fmt: skip


def test_stations_that_nobody_knows_are_left_alone(habits: Habits) -> None:
    habits.heard({99})
    assert habits.news() == []


def test_who_hears_of_stations_while_the_news_is_gone_through_disturbs_nobody(habits: Habits) -> None:
    """Lanes hear, upkeep looks for news."""
    reached, go = Event(), Event()

    class Held(set[int]):
        """Whoever takes something from it stops in the middle."""

        def __sub__(self, other: AbstractSet[object]) -> set[int]:
            reached.set()
            go.wait(10)
            return super().__sub__(other)

    lane = Thread(target=lambda: habits.heard(Held({SLOW_ONE})))
    known = habits._directory.by_id

    def by_id(station_id: int) -> StationRef | None:
        go.set()
        lane.join(10)
        return known(station_id)

    habits._directory.by_id = by_id  # type: ignore[method-assign]
    habits.heard({NATIVE_ONE})
    lane.start()
    reached.wait(10)
    assert [each.station_id for each in habits.news()] == [NATIVE_ONE]
    assert [each.station_id for each in habits.news()] == [SLOW_ONE]
