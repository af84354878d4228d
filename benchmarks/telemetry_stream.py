"""The stream of the benchmarks of telemetry: frames of 24 slots, every station's, then every station's next one.

One charge in eight changes in between: in a cabinet most banks are full, and the others gain 1% in a minute or two.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from benchmarks.stream import BOOT, CLOCK, code
from firmware_protocol import topics
from firmware_protocol.topics import UpKind

SLOTS: Final = 24
PERIOD: Final = timedelta(seconds=60)


def samples(
    stations: int, first_seq: int, rounds: int, start: datetime = CLOCK
) -> Iterator[tuple[str, bytes, datetime]]:
    """(topic, payload, instant of the sample) in the order they are published."""
    names = [topics.up(code(index), UpKind.TELEMETRY) for index in range(1, stations + 1)]
    for step in range(rounds):
        at = start + PERIOD * step
        for station, topic in enumerate(names, start=1):
            yield topic, _frame(station, first_seq + step, at), at


def _frame(station: int, seq: int, at: datetime) -> bytes:
    slots = [_slot(station, slot, seq) for slot in range(1, SLOTS + 1)]
    tree = {
        "v": 1,
        "boot": BOOT,
        "seq": seq,
        "at": round(at.timestamp() * 1000),
        "type": "slot_telemetry",
        "data": {"slots": slots},
    }
    return json.dumps(tree, separators=(",", ":")).encode()


def _slot(station: int, slot: int, seq: int) -> dict[str, Any]:
    bank = (station - 1) * SLOTS + slot
    return {
        "slot": slot,
        "serial": f"PB{bank:08d}",
        "charge_pct": 20 + (bank + (seq + slot) // 8) % 80,
        "voltage_mv": 3600 + (bank * 7 + seq * 13) % 600,
        "current_ma": (bank * 31 + seq * 17) % 2000,
        "temperature_c": round(22 + ((bank + seq) % 120) / 10, 1),
        "cycles": bank % 500,
        "health_pct": 100 - bank % 25,
    }
