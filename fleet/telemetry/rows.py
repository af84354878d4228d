"""Samples as text for COPY, a frame at a time and without touching a single value in Python.

msgspec writes a list of rows as one JSON array a line; without brackets and quotes that is what COPY reads. There is
nothing to escape: values are numbers, booleans and instants. Formatting each row by itself costs three times as much.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import repeat
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from firmware_protocol.messages import Heartbeat, SlotSample

SLOT_COLUMNS: Final = (
    "station_id",
    "slot",
    "at",
    "power_bank_id",
    "charge_pct",
    "voltage_mv",
    "current_ma",
    "temperature_c",
    "cycles",
    "health_pct",
    "span_s",
)
STATION_COLUMNS: Final = ("station_id", "at", "signal_dbm", "mains", "temperature_c", "uptime_s", "span_s")
#: How the text is read: COPY … WITH (…).
COPY_OPTIONS: Final = "DELIMITER ',', NULL 'null'"

_LINES: Final = msgspec.json.Encoder().encode_lines
_PUNCTUATION: Final = b'[]"'
_SLOT: Final = attrgetter("slot")
_MEASURED: Final = attrgetter("charge_pct", "voltage_mv", "current_ma", "temperature_c", "cycles", "health_pct")
_BEAT: Final = attrgetter("signal_dbm", "mains", "temperature_c", "uptime_s")


class Readings(NamedTuple):
    """What one frame says of slots, and the ids of the power banks in them (None: none, or nobody's)."""

    station_id: int
    at: datetime
    slots: Sequence[SlotSample]
    banks: Sequence[int | None]
    #: For how long its values stand, in seconds up to `at`.
    span_s: int = 1


def slot_rows(readings: Iterable[Readings]) -> bytes:
    """Rows of `SLOT_COLUMNS`."""
    frames = [
        _LINES(
            list(
                zip(
                    repeat(station_id),
                    map(_SLOT, slots),
                    repeat(at.isoformat()),
                    banks,
                    map(_MEASURED, slots),
                    repeat(span_s),
                    strict=False,
                )
            )
        )
        for station_id, at, slots, banks, span_s in readings
    ]
    return b"".join(frames).translate(None, _PUNCTUATION)


def station_rows(beats: Iterable[tuple[int, datetime, Heartbeat, int]]) -> bytes:
    """Rows of `STATION_COLUMNS` from (station id, instant, heartbeat, span in seconds)."""
    rows = [(station_id, at.isoformat(), _BEAT(beat), span_s) for station_id, at, beat, span_s in beats]
    return _LINES(rows).translate(None, _PUNCTUATION)
