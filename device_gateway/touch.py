"""Signs of life, written down seldom enough not to cost anything."""

from collections.abc import Iterable
from time import monotonic
from typing import Final

from device_gateway.directory import Directory

#: At most this often per station, and three times in a heartbeat period, so that nobody is silent by our fault.
SELDOM_S: Final = 5.0


class Touches:
    """Shared by the pipelines; a lost race only writes once too often."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._last: dict[int, float] = {}

    def due(self, station_ids: Iterable[int]) -> list[int]:
        """Those of `station_ids` whose sign of life should be written now."""
        now = monotonic()
        last = self._last
        found: list[int] = []
        for station_id in station_ids:
            before = last.get(station_id)
            if before is None or now - before >= self._period(station_id):
                last[station_id] = now
                found.append(station_id)
        return found

    def forget(self, station_ids: Iterable[int]) -> None:
        """It was not written after all."""
        for station_id in station_ids:
            self._last.pop(station_id, None)

    def _period(self, station_id: int) -> float:
        ref = self._directory.by_id(station_id)
        return SELDOM_S if ref is None else min(SELDOM_S, ref.heartbeat_s / 3)
