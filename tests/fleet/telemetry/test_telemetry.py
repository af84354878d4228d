"""Samples, rollups and retention, on native partitions (and, where the extension is there, on hypertables)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from random import Random
from time import monotonic

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from firmware_protocol.messages import Heartbeat, SlotSample, SlotTelemetry
from fleet.settings import Settings
from fleet.stations.models import PowerBank
from fleet.telemetry.deadband import Deadband
from fleet.telemetry.models import SlotTelemetryRow
from fleet.telemetry.samples import Sample
from fleet.telemetry.store import SampleStore
from fleet.telemetry.upkeep import upkeep, uses_timescale
from tests.conftest import NOON
from tests.databases import Database
from tests.fleet.telemetry.series import Step, latest_heartbeat, slot_samples, slot_series, station_series

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
STATION = 7


@pytest.fixture
def session(clean_database: Database) -> Iterator[Session]:
    """Of a database of its own: upkeep makes and drops tables."""
    with Session(clean_database.engine) as session:
        yield session


def native_only(session: Session) -> None:
    if uses_timescale(session):
        pytest.skip("TimescaleDB's own policies do this")


def slots(seq: int, at: datetime, *measured: SlotSample, station: int = STATION) -> Sample:
    return Sample(station, 1, seq, at, SlotTelemetry(slots=measured))


def bank(session: Session, serial: str, now: datetime) -> PowerBank:
    row = PowerBank(serial=serial, created_at=now, updated_at=now)
    session.add(row)
    session.flush()
    return row


def count(session: Session, table: str) -> int:
    return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_message_is_stored_once(session: Session, now: datetime) -> None:
    row = bank(session, "PB1", now)
    sample = slots(
        1,
        now,
        SlotSample(slot=1, serial="PB1", charge_pct=40, voltage_mv=3900, current_ma=-12, temperature_c=21.5),
        SlotSample(slot=2, serial="FOREIGN", charge_pct=None),
    )
    store = SampleStore()
    assert store.store(session, [sample, sample], now) == [sample]
    assert store.store(session, [sample], now) == []
    assert SampleStore().store(session, [sample], now) == []
    stored = slot_samples(session, STATION, 1, start=now, end=now + MINUTE)
    values = [(each.power_bank_id, each.charge_pct, each.voltage_mv, each.current_ma) for each in stored]
    assert values == [(row.id, 40, 3900, -12)]
    assert stored[0].temperature_c == 21.5
    assert count(session, "slot_telemetry") == 2


def test_heartbeats(session: Session, now: datetime) -> None:
    beats = [
        Sample(STATION, 1, 1, now, Heartbeat(signal_dbm=-80, mains=False, temperature_c=-4.5, uptime_s=10)),
        Sample(STATION, 1, 2, now + MINUTE, Heartbeat()),
    ]
    assert len(SampleStore().store(session, beats, now)) == 2
    newest = latest_heartbeat(session, STATION)
    assert newest is not None
    assert (newest.at, newest.signal_dbm, newest.mains) == (now + MINUTE, None, None)


def test_two_samples_of_one_instant_do_not_break_the_batch(session: Session, now: datetime) -> None:
    store = SampleStore()
    store.store(session, [slots(1, now, SlotSample(slot=1, charge_pct=10))], now)
    both = [slots(2, now, SlotSample(slot=1, charge_pct=99)), slots(3, now + MINUTE, SlotSample(slot=1, charge_pct=11))]
    assert len(store.store(session, both, now)) == 2
    stored = slot_samples(session, STATION, 1, start=now, end=now + DAY)
    assert [each.charge_pct for each in stored] == [10, 11]


def charge(session: Session, row: PowerBank) -> tuple[int | None, datetime | None]:
    session.refresh(row)
    return row.charge_pct, row.sampled_at


def test_a_banks_values_are_the_newest_ones(session: Session, now: datetime) -> None:
    row = bank(session, "PB1", now)
    store = SampleStore()

    def tell(seq: int, minutes: float, charge_pct: int | None) -> None:
        sample = slots(seq, now + minutes * MINUTE, SlotSample(slot=1, serial="PB1", charge_pct=charge_pct, cycles=9))
        store.store(session, [sample], now)
        store.write_banks(session)

    tell(1, 5, 50)
    assert charge(session, row) == (50, now + 5 * MINUTE)
    tell(2, 3, 49)  # an older one comes late
    assert charge(session, row) == (50, now + 5 * MINUTE)
    tell(3, 6, 50)  # nothing new: not worth a write
    assert charge(session, row) == (50, now + 5 * MINUTE)
    tell(4, 7, None)  # not known now: the last known stays
    assert charge(session, row) == (50, now + 7 * MINUTE)
    tell(5, 30, 50)  # now and then it is written all the same
    assert charge(session, row) == (50, now + 30 * MINUTE)
    assert row.cycles == 9


def test_a_charge_that_an_event_told_later_hides_nothing_else_of_a_sample(session: Session, now: datetime) -> None:
    row = bank(session, "PB1", now)
    row.charge_pct, row.charge_at = 40, now + 6 * MINUTE
    session.flush()
    store = SampleStore()

    def tell(seq: int, minutes: float, charge_pct: int) -> tuple[int | None, float | None, datetime | None]:
        measured = SlotSample(slot=1, serial="PB1", charge_pct=charge_pct, temperature_c=20.0 + seq * 2)
        store.store(session, [slots(seq, now + minutes * MINUTE, measured)], now)
        store.write_banks(session)
        session.refresh(row)
        return row.charge_pct, row.temperature_c, row.sampled_at

    assert tell(1, 5, 39) == (40, 22.0, now + 5 * MINUTE)
    assert tell(2, 6, 39) == (40, 24.0, now + 6 * MINUTE), "of one instant the event has the last word"
    assert tell(3, 7, 41) == (41, 26.0, now + 7 * MINUTE)
    assert row.charge_at == now + 7 * MINUTE


def test_a_locked_bank_is_passed_over(clean_database: Database, now: datetime) -> None:
    with Session(clean_database.engine) as holder, Session(clean_database.engine) as session:
        row = bank(holder, "PB1", now)
        holder.commit()
        holder.get_one(PowerBank, row.id, with_for_update=True, populate_existing=True)
        sample = slots(1, now, SlotSample(slot=1, serial="PB1", charge_pct=40))
        store = SampleStore()
        assert store.store(session, [sample], now) == [sample]
        assert len(store.write_banks(session)) == 1
        session.commit()
        holder.rollback()
        assert charge(holder, row) == (None, None)


def test_what_comes_late_does_not_hide_the_newest(session: Session, now: datetime) -> None:
    """However many frames come between two writes, and in whatever order."""
    rows = [bank(session, f"PB{number}", now) for number in range(3)]
    told = [slots(n + 1, now + n * MINUTE, SlotSample(slot=1, serial="PB0", charge_pct=n % 100)) for n in range(2_500)]
    told += [slots(9_001, now + 5_000 * MINUTE, SlotSample(slot=1, serial="PB1", charge_pct=81))]
    told += [slots(9_002, now + 4_000 * MINUTE, SlotSample(slot=1, serial="PB2", charge_pct=82))]
    store = SampleStore()
    Random(4).shuffle(told)
    for at in range(0, len(told), 500):
        store.store(session, told[at : at + 500], now)
    store.write_banks(session)
    assert charge(session, rows[0]) == (99, now + 2_499 * MINUTE)
    assert charge(session, rows[1]) == (81, now + 5_000 * MINUTE)
    assert charge(session, rows[2]) == (82, now + 4_000 * MINUTE)


def test_banks_that_change_places_keep_their_own_values(session: Session, now: datetime) -> None:
    """Also when a bank is known to the backend only after its first sample."""
    first, second = bank(session, "PB1", now), bank(session, "PB2", now)
    store = SampleStore()

    def tell(seq: int, *inside: tuple[str, int], station_id: int = 1) -> None:
        measured = [
            SlotSample(slot=slot, serial=serial, charge_pct=pct) for slot, (serial, pct) in enumerate(inside, 1)
        ]
        message = SlotTelemetry(slots=tuple(measured))
        store.store(session, [Sample(station_id, 1, seq, now + seq * MINUTE, message)], now)

    tell(1, ("PB1", 10), ("PB2", 20), ("PB3", 30))
    third = bank(session, "PB3", now)
    tell(2, ("PB2", 21), ("PB1", 11), ("PB3", 31))
    tell(3, ("PB2", 22), ("PB3", 32))
    tell(4, ("PB1", 14), station_id=2)
    tell(5, ("PB2", 25))
    store.write_banks(session)
    assert [charge(session, each) for each in (first, second, third)] == [
        (14, now + 4 * MINUTE),
        (25, now + 5 * MINUTE),
        (32, now + 3 * MINUTE),
    ]
    row = SlotTelemetryRow
    told = select(row.power_bank_id).where(row.station_id == 1).order_by(row.at, row.slot)
    assert list(session.scalars(told)) == [
        *(first.id, second.id, None),
        *(second.id, first.id, third.id),
        *(second.id, third.id),
        second.id,
    ]


def test_banks_that_were_not_committed_are_written_with_their_next_sample(session: Session, now: datetime) -> None:
    row = bank(session, "PB1", now)
    session.commit()
    store = SampleStore()
    store.store(session, [slots(1, now, SlotSample(slot=1, serial="PB1", charge_pct=50))], now)
    due = store.banks.due()
    assert len(due) == 1
    store.banks.write(session, due)
    session.rollback()
    store.banks.forget(due)
    store.store(session, [slots(2, now + MINUTE, SlotSample(slot=1, serial="PB1", charge_pct=50))], now)
    store.write_banks(session)
    assert charge(session, row) == (50, now + MINUTE)


def feed(session: Session, start: datetime, days: int, seed: int = 1) -> None:
    rng = Random(seed)
    samples: list[Sample] = []
    for step in range(days * 24 * 4):
        at = start + step * 15 * MINUTE + rng.randint(0, 800) * timedelta(seconds=1)
        measured = SlotSample(slot=1, charge_pct=rng.randint(0, 100), temperature_c=rng.choice([None, 20.5, 30.25]))
        samples += [
            slots(2 * step + 1, at, measured),
            Sample(STATION, 1, 2 * step + 2, at, Heartbeat(signal_dbm=-rng.randint(50, 90), mains=rng.random() < 0.9)),
        ]
    SampleStore().store(session, samples, start)


def all_series(session: Session, now: datetime) -> list[object]:
    span = {"start": now - 60 * DAY, "end": now + 60 * DAY}
    return [
        [slot_series(session, STATION, 1, step=step, **span) for step in Step],
        [station_series(session, STATION, step=step, **span) for step in Step],
    ]


def test_views_show_raw_rows_before_the_first_upkeep(session: Session, now: datetime) -> None:
    SampleStore().store(
        session,
        [slots(n, now + n * MINUTE, SlotSample(slot=1, charge_pct=10 * n, temperature_c=20.0)) for n in (1, 2, 6)],
        now,
    )
    (hour,) = slot_series(session, STATION, 1, start=now - DAY, end=now + DAY, step=Step.HOUR)
    assert (hour.bucket, hour.samples, hour.charge_min, hour.charge_max) == (now, 3, 10, 60)
    assert (hour.charge_avg, hour.temperature_avg, hour.voltage_avg) == (30.0, 20.0, None)
    (day,) = slot_series(session, STATION, 1, start=now - DAY, end=now + DAY, step=Step.DAY)
    assert (day.bucket, day.samples, day.charge_avg) == (now.replace(hour=0), 3, 30.0)


@pytest.mark.parametrize("hours", [1.5, 7.2, 26.0, 70.5])
def test_rolled_up_and_raw_give_the_same_series(session: Session, now: datetime, hours: float) -> None:
    native_only(session)
    feed(session, now - 3 * DAY, days=3)
    before = all_series(session, now)
    upkeep(session, now - 3 * DAY + timedelta(hours=hours))
    assert all_series(session, now) == before
    upkeep(session, now + 1 * DAY)
    assert all_series(session, now) == before
    assert count(session, "slot_telemetry_hour_rollup") > 60
    assert count(session, "station_telemetry_day_rollup") == 4


def test_what_a_chart_reads_together_lies_together(session: Session, now: datetime) -> None:
    native_only(session)
    told = [
        slots(hour + 1, now + hour * 60 * MINUTE, *(SlotSample(slot=n, charge_pct=n) for n in (3, 1, 2)), station=each)
        for each in (9, 4, 7)
        for hour in range(3)
    ]
    SampleStore().store(session, told, now)
    upkeep(session, now + DAY)
    for step in ("hour", "day"):
        lie = session.execute(text(f"SELECT bucket, station_id, slot FROM slot_telemetry_{step}_rollup ORDER BY ctid"))
        rows = lie.all()
        assert len(rows) == {"hour": 27, "day": 9}[step]
        assert rows == sorted(rows)


def test_a_chart_of_hours_needs_the_index_alone(clean_database: Database, now: datetime) -> None:
    """Once its pages are known to be visible to all, which vacuum finds out."""
    with Session(clean_database.engine) as session:
        native_only(session)
        SampleStore().store(session, [slots(n + 1, now + n * MINUTE, SlotSample(slot=1)) for n in range(60)], now)
        upkeep(session, now + 2 * 60 * MINUTE)
        session.commit()
    with clean_database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE slot_telemetry_hour_rollup"))
        connection.execute(text("SET enable_seqscan = off"))
        plan = connection.scalars(
            text(
                "EXPLAIN SELECT slot, bucket, charge_avg, temperature_max FROM slot_telemetry_hourly"
                " WHERE station_id = 7 AND bucket >= '2026-01-01Z' AND bucket < '2027-01-01Z'"
            )
        )
        assert any("Index Only Scan using slot_telemetry_hour_rollup_pkey" in line for line in plan)


def test_series_outlive_the_raw_rows(session: Session, now: datetime) -> None:
    native_only(session)
    feed(session, now - 3 * DAY, days=3)
    before = all_series(session, now)
    upkeep(session, now)
    upkeep(session, now + 40 * DAY)
    assert count(session, "slot_telemetry") == 0
    assert all_series(session, now) == before
    upkeep(session, now + 500 * DAY)
    assert slot_series(session, STATION, 1, start=now - 60 * DAY, end=now, step=Step.HOUR) == []
    assert len(slot_series(session, STATION, 1, start=now - 60 * DAY, end=now, step=Step.DAY)) == 4


def partitions(session: Session) -> set[str]:
    query = text("""
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE inhparent = 'slot_telemetry'::regclass
    """)
    return set(session.scalars(query))


def test_partitions_are_made_ahead_and_rows_leave_the_default_one(session: Session, now: datetime) -> None:
    native_only(session)
    far = now + 100 * DAY
    SampleStore().store(session, [slots(1, far, SlotSample(slot=1, charge_pct=1))], now)
    assert count(session, "slot_telemetry_default") == 1
    upkeep(session, far)
    assert count(session, "slot_telemetry_default") == 0
    assert count(session, f"slot_telemetry_p{far:%Y%m%d}") == 1
    assert f"slot_telemetry_p{far + 7 * DAY:%Y%m%d}" in partitions(session)
    assert f"slot_telemetry_p{now:%Y%m%d}" not in partitions(session)
    made = partitions(session)
    upkeep(session, far)
    assert partitions(session) == made


def test_what_was_stored_is_forgotten_after_a_day(session: Session, now: datetime) -> None:
    SampleStore().store(session, [slots(1, now, SlotSample(slot=1, charge_pct=1))], now)
    upkeep(session, now + 23 * timedelta(hours=1))
    assert count(session, "device_sample") == 1
    upkeep(session, now + 25 * timedelta(hours=1))
    assert count(session, "device_sample") == 0


def test_late_rows_get_into_hours_and_days_that_were_rolled_up(session: Session, now: datetime) -> None:
    native_only(session)
    feed(session, now - 3 * DAY, days=3)
    upkeep(session, now + 1 * DAY)
    at = now - 2 * DAY + 30 * MINUTE + timedelta(seconds=1, milliseconds=7)
    hidden = SlotSample(slot=1, charge_pct=77)
    SampleStore().store(session, [slots(9_000, at, hidden), Sample(STATION, 1, 9_001, at, Heartbeat(mains=False))], now)
    before = all_series(session, now)
    upkeep(session, now + 1 * DAY + 10 * MINUTE)
    mended = all_series(session, now)
    assert mended != before
    session.execute(text("UPDATE telemetry_rollup SET through = '2000-01-01Z'"))
    for table in ("slot", "station"):
        for step in ("hour", "day"):
            session.execute(text(f"DELETE FROM {table}_telemetry_{step}_rollup"))
    assert all_series(session, now) == mended  # as if all were added up from raw rows only now
    assert count(session, "telemetry_late") == 0


def test_late_rows_of_hours_whose_raw_rows_are_gone_change_nothing(session: Session, now: datetime) -> None:
    native_only(session)
    feed(session, now - 3 * DAY, days=3)
    upkeep(session, now + 40 * DAY)
    before = all_series(session, now)
    SampleStore().store(session, [slots(9_000, now - 2 * DAY, SlotSample(slot=1, charge_pct=0))], now + 40 * DAY)
    upkeep(session, now + 40 * DAY + 10 * MINUTE)
    assert all_series(session, now) == before
    assert (count(session, "telemetry_late"), count(session, "slot_telemetry")) == (0, 0)


def test_averages_are_over_time(session: Session, now: datetime) -> None:
    """Ten minutes from 50 to 60 percent, then fifty at 60: few rows, and the average of all samples."""
    charges = [50 + min(minute, 10) for minute in range(60)]
    samples = [slots(n + 1, now + n * MINUTE, SlotSample(slot=1, charge_pct=each)) for n, each in enumerate(charges)]
    samples.append(slots(99, now + 60 * MINUTE - timedelta(seconds=1), SlotSample(slot=1, charge_pct=61)))
    SampleStore(deadband().thin).store(session, samples, now)
    (hour,) = slot_series(session, STATION, 1, start=now, end=now + DAY, step=Step.HOUR)
    assert hour.samples < 25
    # Each sample stands for the minute before it, the first one for a second, the last one for 59.
    assert hour.charge_avg == pytest.approx((50 + 60 * sum(charges[1:]) + 59 * 61) / 3600)


def deadband() -> Deadband:
    found = Deadband.from_settings(Settings())
    assert found is not None
    return found


def stored(session: Session) -> list[tuple[float, int | None]]:
    rows = session.execute(text("SELECT at, charge_pct FROM slot_telemetry ORDER BY at")).all()
    return [((row[0] - NOON) / MINUTE, row[1]) for row in rows]


def test_every_gateway_compares_with_what_any_of_them_stored(session: Session, now: datetime) -> None:
    """Also after a restart: what was stored last is known to the database and to nobody else."""

    def tell(minute: int, charge_pct: int) -> None:
        sample = slots(minute + 1, now + minute * MINUTE, SlotSample(slot=1, charge_pct=charge_pct))
        SampleStore(deadband().thin).store(session, [sample], now)

    for minute, charge_pct in enumerate([50, 51, 50, 50, 50]):
        tell(minute, charge_pct)
    assert stored(session) == [(0, 50), (1, 51), (2, 50)]
    tell(2, 50)  # what came before is told again
    assert len(stored(session)) == 3


def test_lost_runs_cost_one_whole_sample(session: Session, now: datetime) -> None:
    """The table is unlogged: a crash of the database empties it."""
    store = SampleStore(deadband().thin)
    store.store(session, [slots(1, now, SlotSample(slot=1, charge_pct=50))], now)
    session.execute(text("TRUNCATE telemetry_run"))
    store.store(session, [slots(2, now + MINUTE, SlotSample(slot=1, charge_pct=50))], now)
    session.execute(text("UPDATE telemetry_run SET runs = 'of another version'"))
    store.store(session, [slots(3, now + 2 * MINUTE, SlotSample(slot=1, charge_pct=50))], now)
    store.store(session, [slots(4, now + 3 * MINUTE, SlotSample(slot=1, charge_pct=50))], now)
    assert stored(session) == [(0, 50), (1, 50), (2, 50)]


def test_two_gateways_at_once_wait_for_each_other(clean_database: Database, now: datetime) -> None:
    """50, 51, 50 told to two gateways whose transactions overlap: the last 50 must not be taken for unchanged."""
    first, second = (SampleStore(deadband().thin) for _ in range(2))
    with Session(clean_database.engine) as one, Session(clean_database.engine) as two, ThreadPoolExecutor(1) as pool:
        first.store(one, [slots(1, now, SlotSample(slot=1, charge_pct=50))], now)
        one.commit()
        first.store(one, [slots(2, now + MINUTE, SlotSample(slot=1, charge_pct=51))], now)
        sample = slots(3, now + 2 * MINUTE, SlotSample(slot=1, charge_pct=50))
        waiting = pool.submit(second.store, two, [sample], now)
        until_waiting(clean_database)
        one.commit()
        waiting.result(30)
        two.commit()
        assert stored(one) == [(0, 50), (1, 51), (2, 50)]


def until_waiting(database: Database) -> None:
    deadline = monotonic() + 30
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while monotonic() < deadline:
        with Session(database.engine) as session:
            if session.scalar(query):
                return
    raise AssertionError("nobody waits")


def test_a_bank_that_grows_hot_is_known_at_once(session: Session, now: datetime) -> None:
    row = bank(session, "PB1", now)
    store = SampleStore(deadband().thin)
    for minute, warmth in enumerate([30.0, 31.0, 58.0]):
        sample = slots(minute + 1, now + minute * MINUTE, SlotSample(slot=1, serial="PB1", temperature_c=warmth))
        store.store(session, [sample], now)
        store.write_banks(session)
    session.refresh(row)
    assert row.temperature_c == 58.0
