"""A fleet in the database, made with SQL: what is measured comes later."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Engine, text

from benchmarks.stream import BOOT, SLOTS, code

_STATIONS = """
INSERT INTO station (code, name, city, country, latitude, longitude, h3_cell, time_zone, status, slot_count, online,
                     online_changed_at, last_heard_at, created_at, updated_at)
SELECT c, 'Station ' || c, 'Lisboa', NULL, 38.6 + (i % 100) * 0.002, -9.25 + (i / 100) * 0.002, 0, 'Europe/Lisbon',
       'active', :slots, true, :now, :now, :now, :now
  FROM unnest(CAST(:codes AS text[])) WITH ORDINALITY AS t(c, i)
"""
_SLOTS = """
INSERT INTO station_slot (station_id, number, state)
SELECT id, n, 'unknown' FROM station, generate_series(1, :slots) AS n
"""
_SESSIONS = """
INSERT INTO device_session (station_id, epoch, boot, firmware, hardware, reset_cause, connected_at, last_seen_at)
SELECT id, 1, :boot, 'bench', 'bench', 'power_on', :now, :now FROM station
"""


def ingest_fleet(engine: Engine, stations: int, now: datetime, slots: int = SLOTS) -> None:
    """Stations of the stream with their slots, each in an open session."""
    codes = [code(index) for index in range(1, stations + 1)]
    with engine.begin() as connection:
        connection.execute(text(_STATIONS), {"codes": codes, "slots": slots, "now": now})
        connection.execute(text(_SLOTS), {"slots": slots})
        connection.execute(text(_SESSIONS), {"boot": BOOT, "now": now})
    settle(engine)


def settle(engine: Engine, tables: Sequence[str] = ()) -> None:
    """Statistics as they are in a system that has run for a while, and nothing left to write in the background."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"VACUUM ANALYZE {', '.join(tables)}"))
        connection.execute(text("CHECKPOINT"))
