"""A fleet in the database, made with SQL: what is measured comes later."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Engine, text

from benchmarks import telemetry_stream
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
SELECT id, n, 'unknown' FROM station, generate_series(1, :slots) AS n WHERE code LIKE 'BE-%'
"""
_SESSIONS = """
INSERT INTO device_session (station_id, epoch, boot, firmware, hardware, reset_cause, connected_at, last_seen_at)
SELECT id, 1, :boot, 'bench', 'bench', 'power_on', :now, :now FROM station WHERE code LIKE 'BE-%'
"""

_BANKS = """
INSERT INTO power_bank (serial, state, known, charge_pct, cycles, health_pct, created_at, updated_at)
SELECT 'BB' || lpad(s.id::text, 8, '0'), 'available', true, 20 + s.id % 80, s.id % 400, 95, :now, :now
  FROM station_slot s JOIN station t ON t.id = s.station_id WHERE t.code LIKE 'BE-%' AND s.number % 3 <> 0
"""
_INSERTED = """
UPDATE station_slot s
   SET state = CASE WHEN b.id IS NULL THEN 'empty' ELSE 'occupied' END, power_bank_id = b.id, observed_at = :now
  FROM station_slot o LEFT JOIN power_bank b ON b.serial = 'BB' || lpad(o.id::text, 8, '0')
 WHERE o.id = s.id AND s.station_id IN (SELECT id FROM station WHERE code LIKE 'BE-%')
"""

_TOLD_BANKS = """
INSERT INTO power_bank (serial, state, known, created_at, updated_at)
SELECT 'PB' || lpad(n::text, 8, '0'), 'available', true, :now, :now FROM generate_series(1, :banks) AS n
"""


def station_fleet(engine: Engine, stations: int) -> None:
    """Stations of the stream, online, two thirds of their slots with banks in them."""
    now = datetime.now(UTC)
    ingest_fleet(engine, stations, now)
    with engine.begin() as connection:
        connection.execute(text(_BANKS), {"now": now})
        connection.execute(text(_INSERTED), {"now": now})
    settle(engine)


def ingest_fleet(engine: Engine, stations: int, now: datetime, slots: int = SLOTS) -> None:
    """Stations of the stream with their slots, each in an open session."""
    codes = [code(index) for index in range(1, stations + 1)]
    with engine.begin() as connection:
        connection.execute(text(_STATIONS), {"codes": codes, "slots": slots, "now": now})
        connection.execute(text(_SLOTS), {"slots": slots})
        connection.execute(text(_SESSIONS), {"boot": BOOT, "now": now})
    settle(engine)


def telemetry_fleet(engine: Engine, stations: int, now: datetime) -> None:
    """Stations of the stream of telemetry, and the banks it tells of."""
    ingest_fleet(engine, stations, now, telemetry_stream.SLOTS)
    with engine.begin() as connection:
        connection.execute(text(_TOLD_BANKS), {"now": now, "banks": stations * telemetry_stream.SLOTS})
    settle(engine)


def settle(engine: Engine, tables: Sequence[str] = ()) -> None:
    """Statistics as they are in a system that has run for a while, and nothing left to write in the background."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"VACUUM ANALYZE {', '.join(tables)}"))
        connection.execute(text("CHECKPOINT"))
