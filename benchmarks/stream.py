"""The stream of the ingest benchmark: events of 200 bytes from many stations, each with its own sequence.

One event of every station, then the next of every station: no two neighbours share a row of the database, which is what
a fleet looks like and the worst case for a backend that works in batches.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from firmware_protocol import topics
from firmware_protocol.topics import UpKind

FRAME_BYTES: Final = 200
SLOTS: Final = 8
BOOT: Final = 1
#: The cabinets' clocks, which are right.
CLOCK: Final = datetime(2026, 11, 23, tzinfo=UTC)
_CLOCK_MS: Final = round(CLOCK.timestamp() * 1000)


def code(index: int) -> str:
    """Stations are counted from 1."""
    return f"BE-{index:06d}"


def frame(station: int, seq: int) -> bytes:
    """A lock event of exactly FRAME_BYTES; what fills it up is a field that firmware may send and nobody reads."""
    data = {"slot": (station + seq) % SLOTS + 1, "note": ""}
    tree = {
        "v": 1,
        "boot": BOOT,
        "seq": seq,
        "at": _CLOCK_MS + seq * 1000,
        "type": "slot_locked" if seq % 2 else "slot_unlocked",
        "data": data,
    }
    data["note"] = "x" * (FRAME_BYTES - len(_json(tree)))
    return _json(tree)


def events(stations: int, first_seq: int, rounds: int) -> Iterator[tuple[str, bytes]]:
    """(topic, payload) in the order they are published."""
    names = [topics.up(code(index), UpKind.EVENT) for index in range(1, stations + 1)]
    for seq in range(first_seq, first_seq + rounds):
        for index, topic in enumerate(names, start=1):
            yield topic, frame(index, seq)


def _json(tree: object) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode()
