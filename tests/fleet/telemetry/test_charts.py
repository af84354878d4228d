"""Series without false gaps, percentiles, and plans that do not grow with the fleet."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from statistics import quantiles

import pytest
from sqlalchemy import event, text, update
from sqlalchemy.orm import Session

from firmware_protocol.messages import Heartbeat, SlotSample, SlotTelemetry
from firmware_protocol.types import SlotState
from fleet.common.errors import InvalidInput
from fleet.devices import presence
from fleet.settings import Settings
from fleet.stations.health import sweep_banks
from fleet.stations.models import PowerBank, PowerBankState, StationSlot, StationStatus
from fleet.stations.rules import HealthPolicy
from fleet.telemetry import charts, health
from fleet.telemetry.deadband import Deadband
from fleet.telemetry.rules import Resolution, buckets, filled, percentile, resolution_for
from fleet.telemetry.samples import Sample
from fleet.telemetry.store import SampleStore
from fleet.telemetry.upkeep import upkeep, uses_timescale
from tests.databases import Database
from tests.factories import add_station

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def session(clean_database: Database) -> Iterator[Session]:
    """Of a database of its own: upkeep makes and drops tables."""
    with Session(clean_database.engine) as session:
        yield session


def test_the_range_chooses_the_resolution() -> None:
    chosen = [resolution_for(MIDNIGHT, MIDNIGHT + days * DAY) for days in (1, 2, 3, 31, 32)]
    assert chosen == [*[Resolution.MINUTES] * 2, *[Resolution.HOUR] * 2, Resolution.DAY]
    assert buckets(MIDNIGHT + 7 * MINUTE, MIDNIGHT + 15 * MINUTE, 5 * MINUTE) == [
        MIDNIGHT + 5 * MINUTE,
        MIDNIGHT + 10 * MINUTE,
    ]


def test_values_are_carried_forward_and_not_for_ever() -> None:
    wanted = buckets(MIDNIGHT, MIDNIGHT + HOUR, 5 * MINUTE)
    known = {MIDNIGHT - 5 * MINUTE: 1, MIDNIGHT + 15 * MINUTE: 2, MIDNIGHT + 20 * MINUTE: 3}
    assert filled(known, wanted, step=5 * MINUTE) == [1, 1, None, 2, 3, 3, 3, None, None, None, None, None]
    assert filled({MIDNIGHT: 1}, wanted[:2], step=5 * MINUTE, carried=timedelta(0)) == [1, None]


def test_percentiles_of_a_histogram() -> None:
    random = Random(3)
    values = [random.gauss(25, 4) for _ in range(5000)]
    histogram: dict[int, int] = {}
    for value in values:
        histogram[int(value // 1)] = histogram.get(int(value // 1), 0) + 1
    cuts = quantiles(values, n=100)
    for share in (5, 50, 95, 99):
        assert percentile(histogram, share / 100) == pytest.approx(cuts[share - 1], abs=0.5)
    assert percentile({}, 0.5) is None


def telemetry(station: int, seq: int, at: datetime, *slots: SlotSample) -> Sample:
    return Sample(station, 1, seq, at, SlotTelemetry(slots=slots))


def test_the_charge_of_a_station_over_a_day(session: Session) -> None:
    """A bank that charges for an hour and is full from then on, of which a few rows are stored; the other is taken."""
    thin = Deadband.from_settings(Settings())
    assert thin is not None
    store = SampleStore(thin.thin)
    for minute in range(24 * 60):
        slots = [SlotSample(slot=1, charge_pct=min(100, 40 + minute), temperature_c=30.0)]
        slots += [SlotSample(slot=2, charge_pct=80)] if minute < 60 else []
        sample = telemetry(1, minute + 1, MIDNIGHT + minute * MINUTE, *slots)
        store.store(session, [sample], MIDNIGHT + minute * MINUTE)
    stored = session.scalar(text("SELECT count(*) FROM slot_telemetry"))
    assert stored is not None
    assert stored < 300
    chart = charts.slot_charge(session, 1, start=MIDNIGHT, end=MIDNIGHT + DAY)
    assert (chart.resolution, len(chart.at)) == (Resolution.MINUTES, 288)
    first, second = chart.slots
    assert first.charge_pct == [min(100, 44 + 5 * n) for n in range(288)]
    assert second.charge_pct == [*[80] * 13, *[None] * 275]
    hourly = charts.slot_charge(session, 1, start=MIDNIGHT, end=MIDNIGHT + 3 * DAY)
    assert (hourly.resolution, len(hourly.at)) == (Resolution.HOUR, 72)
    assert hourly.slots[0].charge_pct[0] == pytest.approx(69.5, abs=0.6)
    assert hourly.slots[0].charge_pct[1:24] == [100.0] * 23
    assert hourly.slots[0].charge_pct[24:] == [None] * 48


def test_ranges_that_make_no_sense(session: Session) -> None:
    for end in (MIDNIGHT, MIDNIGHT - DAY, MIDNIGHT + 401 * DAY):
        with pytest.raises(InvalidInput):
            charts.slot_charge(session, 1, start=MIDNIGHT, end=end)
    with pytest.raises(InvalidInput):
        charts.fleet_temperature(session, "weather", start=MIDNIGHT, end=MIDNIGHT + DAY)


def test_temperatures_of_the_fleet(session: Session) -> None:
    store = SampleStore()
    beats = [
        Sample(station, 1, hour + 1, MIDNIGHT + hour * HOUR, Heartbeat(temperature_c=20.5 + station % 10 + hour))
        for station in range(1, 101)
        for hour in range(3)
    ]
    store.store(session, beats, MIDNIGHT)
    upkeep(session, MIDNIGHT + 4 * HOUR)
    points = charts.fleet_temperature(session, "cabinet", start=MIDNIGHT, end=MIDNIGHT + 4 * HOUR)
    assert [point.things for point in points] == [100, 100, 100, 0]
    assert points[0].p50 == pytest.approx(25, abs=1)
    assert points[2].p95 == pytest.approx(31.5, abs=1)
    assert points[3].p50 is None
    day = charts.fleet_temperature(session, "cabinet", start=MIDNIGHT, end=MIDNIGHT + 40 * DAY)
    assert (day[0].things, len(day)) == (300, 40)


def test_late_temperatures_get_in(session: Session) -> None:
    if uses_timescale(session):
        pytest.skip("its policies bring late rows in")
    store = SampleStore()
    store.store(session, [Sample(1, 1, 1, MIDNIGHT, Heartbeat(temperature_c=20.0))], MIDNIGHT)
    upkeep(session, MIDNIGHT + 3 * HOUR)
    store.store(session, [Sample(2, 1, 1, MIDNIGHT, Heartbeat(temperature_c=30.0))], MIDNIGHT + 3 * HOUR)
    upkeep(session, MIDNIGHT + 3 * HOUR + 10 * MINUTE)
    (point,) = charts.fleet_temperature(session, "cabinet", start=MIDNIGHT, end=MIDNIGHT + HOUR)
    assert point.things == 2


def test_availability_of_the_fleet(session: Session) -> None:
    """One station is online, one goes away for half an hour, one comes late, one is disabled."""
    start = MIDNIGHT + 2 * HOUR
    add_station(session, MIDNIGHT, "ON", online=False)
    ids = [add_station(session, MIDNIGHT, code, online=False).id for code in ("GONE", "LATE", "OFF")]
    session.execute(text("UPDATE station SET status = :off WHERE code = 'OFF'"), {"off": StationStatus.DISABLED.value})
    on = session.scalars(text("SELECT id FROM station WHERE code = 'ON'")).one()
    presence.change(session, [on, ids[0], ids[2]], online=True, cause="booted", trigger="booted", now=MIDNIGHT)
    presence.change(session, [ids[0]], online=False, cause="silent", trigger="silence", now=start + 15 * MINUTE)
    presence.change(session, [ids[0]], online=True, cause="heard", trigger="heard", now=start + 45 * MINUTE)
    presence.change(session, [ids[1]], online=True, cause="booted", trigger="booted", now=start + 90 * MINUTE)
    upkeep(session, start + 3 * HOUR)
    points = charts.fleet_availability(session, start=start, end=start + 3 * HOUR)
    assert [point.stations for point in points] == [3, 3, 0]
    assert [point.share for point in points] == [pytest.approx(1.5 / 3), pytest.approx(2.5 / 3), None]


def plans(session: Session, statements: list[tuple[str, object]]) -> Iterator[tuple[str, str]]:
    """(node type, relation) of every node that reads a table."""
    for statement, values in statements:
        (plan,) = session.connection().exec_driver_sql("EXPLAIN (FORMAT JSON) " + statement, values).scalars()  # type: ignore[arg-type]  # as the driver got them
        nodes = [(plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]]
        while nodes:
            node = nodes.pop()
            nodes += node.get("Plans", [])
            if "Relation Name" in node:
                yield node["Node Type"], node["Relation Name"]


def test_no_chart_reads_history_from_end_to_end(session: Session) -> None:
    """With whole scans made dear, one that is left is one that no index can replace; and old days are not touched."""
    if uses_timescale(session):
        pytest.skip("its chunks have other plans")
    for days in range(6):
        upkeep(session, MIDNIGHT + days * DAY)
    today = MIDNIGHT + 5 * DAY
    asked: list[tuple[str, object]] = []
    connection = session.connection()
    event.listen(connection, "before_cursor_execute", lambda _c, _u, sql, values, *_: asked.append((sql, values)))
    charts.slot_charge(session, 1, start=today, end=today + DAY)
    charts.slot_charge(session, 1, start=today - 20 * DAY, end=today)
    charts.slot_charge(session, 1, start=today - 300 * DAY, end=today)
    charts.fleet_temperature(session, "bank", start=today - 10 * DAY, end=today)
    charts.fleet_availability(session, start=today - 10 * DAY, end=today)
    queries, asked = asked, []
    session.execute(text("SET LOCAL enable_seqscan = off"))
    seen = list(plans(session, queries))
    assert len(queries) == 5
    assert [(kind, name) for kind, name in seen if kind == "Seq Scan" and name != "telemetry_rollup"] == []
    first_day = {name for kind, name in plans(session, queries[:1])}
    assert first_day <= {f"slot_telemetry_p{day:%Y%m%d}" for day in (today - DAY, today)} | {"slot_telemetry_default"}


def test_the_health_of_a_bank_and_of_slots(session: Session) -> None:
    """A bank that gains nothing for hours is stuck; what the rules did is told with it."""
    station = add_station(session, MIDNIGHT, "A")
    bank = PowerBank(serial="PB1", cycles=520, health_pct=55, created_at=MIDNIGHT, updated_at=MIDNIGHT)
    session.add(bank)
    session.flush()
    place = update(StationSlot).where(StationSlot.station_id == station.id, StationSlot.number == 1)
    session.execute(place.values(power_bank_id=bank.id, state=SlotState.OCCUPIED))
    store = SampleStore()
    for hour in range(6):
        sample = telemetry(
            station.id, hour + 1, MIDNIGHT + hour * HOUR, SlotSample(slot=1, serial="PB1", charge_pct=41)
        )
        store.store(session, [sample], MIDNIGHT)
    now, policy = MIDNIGHT + 6 * HOUR, HealthPolicy()
    before = health.bank_health(session, "PB1", policy, now)
    assert (before.score, before.fault) == (54, "worn: 55 % of its capacity left")
    assert (before.curve.stuck, before.curve.pct_per_hour) == (True, None)
    sweep_banks(session, policy, now)
    after = health.bank_health(session, "PB1", policy, now)
    assert {event.kind.value for event in after.history} == {"quarantined", "flagged"}
    assert (after.bank.state, after.fault) == (PowerBankState.QUARANTINED, None)
    slots = health.station_health(session, "A")
    assert [slot.number for slot in slots] == [1, 2, 3, 4]
    assert [event.kind.value for event in slots[0].history] == ["quarantined"]
