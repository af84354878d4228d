"""What heartbeats tell of stations' ways, written down only when it is news: how often each speaks, its mains, and how
warm it is.
"""

from collections.abc import Collection, Iterable
from math import floor
from typing import Final

from device_gateway import dialects
from device_gateway.directory import Directory, StationRef
from firmware_protocol.dialect import Cadence
from firmware_protocol.messages import Heartbeat, SlotTelemetry
from fleet.devices.presence import Habit
from fleet.devices.rhythm import Rhythm, is_news, period, silence_allowed

_AS_ASKED: Final = Cadence()


class Habits:
    """Shared by the lanes; a lost race only writes once too often, or a heartbeat later."""

    def __init__(self, directory: Directory, periods: float) -> None:
        self._directory = directory
        self._periods = periods
        self._rhythms: dict[int, Rhythm] = {}
        self._beats: dict[int, Heartbeat] = {}
        self._told: dict[int, Habit] = {}
        self._due: set[int] = set()

    def heard(self, station_ids: Collection[int]) -> None:
        """Stations that said anything: what their dialect says of them holds before their first heartbeat."""
        unknown = station_ids - self._told.keys() if isinstance(station_ids, set) else station_ids
        self._due.update(unknown)

    def beats(self, samples: Iterable[tuple[int, float, Heartbeat | SlotTelemetry]]) -> None:
        """(station, seconds by its own clock as corrected, message), in any order."""
        for station_id, at_s, message in samples:
            if type(message) is not Heartbeat:
                continue
            rhythm = self._rhythms.get(station_id)
            if rhythm is None:
                rhythm = self._rhythms[station_id] = Rhythm()
            rhythm.beat(at_s)
            self._beats[station_id] = message
            self._due.add(station_id)

    def news(self) -> list[Habit]:
        """What should be written now; `written` when it is."""
        due, self._due = self._due, set()
        found = []
        for station_id in list(due):  # a lane that has it in hand may still add to it
            ref = self._directory.by_id(station_id)
            if ref is None:
                continue
            habit, told = self._habit(ref), self._told.get(station_id)
            if told is None or _differs(habit, told):
                found.append(habit)
        return found

    def written(self, habits: Iterable[Habit]) -> None:
        self._told.update({habit.station_id: habit for habit in habits})

    def _habit(self, ref: StationRef) -> Habit:
        able = dialects.CAPABILITIES.get(ref.dialect)
        cadence = _AS_ASKED if able is None else able.cadence
        rhythm = self._rhythms.get(ref.id)
        learned = None if rhythm is None else rhythm.period_s
        going_by = period(cadence, ref.heartbeat_s, learned)
        beat = self._beats.get(ref.id)
        state = (None, None) if beat is None else (beat.mains, beat.temperature_c)
        if cadence == _AS_ASKED and going_by <= ref.heartbeat_s:
            return Habit(ref.id, None, None, *state)  # as the settings say, whatever they say tomorrow
        return Habit(ref.id, going_by, silence_allowed(cadence, going_by, self._periods), *state)


def _differs(new: Habit, told: Habit) -> bool:
    if new.mains is not told.mains or is_news(new.silent_after_s, told.silent_after_s):
        return True
    # By whole degrees: no threshold between two of them is missed, and a sensor's noise is seldom news.
    return _degrees(new.temperature_c) != _degrees(told.temperature_c)


def _degrees(celsius: float | None) -> int | None:
    return None if celsius is None else floor(celsius)
