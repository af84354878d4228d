"""Alerts open once, hold through flapping, close when it is over; each kind finds what it is for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, select, text, update
from sqlalchemy.orm import Session

from firmware_protocol.types import SlotState, StationFaultKind
from fleet.common import fixtures
from fleet.common.errors import InvalidInput
from fleet.common.models import OutboxEvent
from fleet.devices import presence
from fleet.devices.models import DeviceSession, StationReconciliation
from fleet.devices.presence import Habit
from fleet.devices.vendor_models import DeviceCall, Doubt
from fleet.stations.models import (
    HealthEvent,
    HealthKind,
    PowerBank,
    Station,
    StationFaultState,
    StationSlot,
    StationStatus,
)
from fleet.telemetry import alerting, alerts
from fleet.telemetry.alert_rules import Finding, Step, with_alert, without_alert
from fleet.telemetry.alerts import Only, RuleSpec
from fleet.telemetry.errors import AlertClosed, AlertNotFound, AlertRuleNameTaken, AlertRuleNotFound
from fleet.telemetry.models import Alert, AlertKind, AlertRule, AlertState, AlertWatch, Severity
from tests.databases import Database
from tests.factories import add_station
from tests.fleet.parallel import together, wide_engine

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
INITIAL = Path(__file__).parents[3] / "fixtures" / "initial_data.json"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def rule(session: Session, now: datetime, kind: AlertKind, **more: Any) -> AlertRule:
    spec = {"name": kind.value, "severity": Severity.WARNING, "clear_after": 5 * MINUTE, **more}
    return alerts.create_rule(session, RuleSpec(kind=kind, **spec), now)


def go_offline(session: Session, station: Station, at: datetime, *, online: bool = False) -> None:
    session.execute(update(Station).where(Station.id == station.id).values(online=online, online_changed_at=at))


def current(session: Session) -> list[tuple[str, str]]:
    session.flush()
    return [(alert.subject, alert.state.value) for alert in alerts.list_alerts(session, Only(current=True), 100)]


def test_a_station_that_is_offline_for_long_enough(session: Session, now: datetime) -> None:
    station = add_station(session, now)
    rule(session, now, AlertKind.OFFLINE, duration=10 * MINUTE)
    go_offline(session, station, now)
    assert alerting.sweep(session, now + 9 * MINUTE).opened == 0
    assert alerting.sweep(session, now + 11 * MINUTE).opened == 1
    assert alerting.sweep(session, now + 12 * MINUTE).opened == 0
    (alert,) = alerts.list_alerts(session, Only(), 10)
    assert (alert.since, alert.opened_at, alert.value) == (now, now + 11 * MINUTE, 12 * 60)
    assert session.scalars(select(AlertWatch)).all() == []
    go_offline(session, station, now + 20 * MINUTE, online=True)
    assert alerting.sweep(session, now + 20 * MINUTE).closed == 0
    assert alerting.sweep(session, now + 26 * MINUTE).closed == 1
    assert current(session) == []
    names = session.scalars(select(OutboxEvent.name).order_by(OutboxEvent.id)).all()
    assert [name for name in names if name.startswith("telemetry.")] == [
        "telemetry.AlertOpened.v1",
        "telemetry.AlertClosed.v1",
    ]


def test_a_cabinet_that_is_hot_by_its_own_heartbeats(session: Session, now: datetime) -> None:
    hot, cool = add_station(session, now, "HOT"), add_station(session, now, "COOL")
    rule(session, now, AlertKind.OVER_TEMPERATURE, threshold=60)

    def beats(celsius: float, at: datetime) -> None:
        presence.learn(
            session,
            [Habit(hot.id, None, None, None, celsius), Habit(cool.id, None, None, None, 25.0)],
        )
        session.execute(update(Station).values(last_heard_at=at))

    beats(59.4, now)
    assert alerting.sweep(session, now).opened == 0
    beats(61.5, now)
    assert alerting.sweep(session, now).opened == 1
    assert current(session) == [(f"cabinet:{hot.id}", "open")]
    beats(58.0, now + MINUTE)  # less than three degrees below: it holds
    alerting.sweep(session, now + MINUTE)
    assert alerting.sweep(session, now + 10 * MINUTE).closed == 0
    beats(40.0, now + 11 * MINUTE)
    alerting.sweep(session, now + 11 * MINUTE)
    assert alerting.sweep(session, now + 17 * MINUTE).closed == 1


def test_flapping_neither_closes_nor_opens_again(session: Session, now: datetime) -> None:
    station = add_station(session, now)
    rule(session, now, AlertKind.OFFLINE)
    at = now
    for _ in range(10):
        go_offline(session, station, at)
        alerting.sweep(session, at)
        go_offline(session, station, at + MINUTE, online=True)
        alerting.sweep(session, at + MINUTE)
        at += 3 * MINUTE
    assert len(session.scalars(select(Alert)).all()) == 1
    assert current(session) == [(f"station:{station.id}", "open")]


def test_what_is_over_before_its_time_is_forgotten(session: Session, now: datetime) -> None:
    """Also when the database does not know since when: it counts from the first look."""
    station = add_station(session, now)
    observe(session, station, now)
    rule(session, now, AlertKind.EMPTY, threshold=0, duration=15 * MINUTE)
    alerting.sweep(session, now)
    alerting.sweep(session, now + 10 * MINUTE)
    put_bank(session, station, 1, now, charge_pct=50)
    alerting.sweep(session, now + 12 * MINUTE)
    session.execute(update(StationSlot).values(power_bank_id=None, state=SlotState.EMPTY))
    assert alerting.sweep(session, now + 16 * MINUTE).opened == 0
    assert alerting.sweep(session, now + 32 * MINUTE).opened == 1


def observe(session: Session, station: Station, now: datetime) -> None:
    slots = update(StationSlot).where(StationSlot.station_id == station.id)
    session.execute(slots.values(state=SlotState.EMPTY, observed_at=now))


def put_bank(session: Session, station: Station, number: int, now: datetime, **values: Any) -> PowerBank:
    bank = PowerBank(serial=uuid4().hex, created_at=now, updated_at=now, sampled_at=now, **values)
    session.add(bank)
    session.flush()
    place = update(StationSlot).where(StationSlot.station_id == station.id, StationSlot.number == number)
    session.execute(place.values(power_bank_id=bank.id, state=SlotState.OCCUPIED))
    return bank


def _failed_update(session: Session, station: Station, now: datetime) -> None:
    """Only its target: what rollouts and releases are is not looked at."""
    session.flush()
    session.execute(text("SET LOCAL session_replication_role = replica"))
    target = text(
        "INSERT INTO firmware_rollout_target (rollout_id, station_id, group_number, state, offered_at, changed_at)"
        " VALUES (gen_random_uuid(), :station_id, 1, :state, :at, :at)"
    )
    for state, at in (("updated", now - HOUR), ("failed", now)):
        session.execute(target, {"station_id": station.id, "state": state, "at": at})
    session.execute(text("SET LOCAL session_replication_role = origin"))


Change = Callable[[Session, Station, datetime], object]


def _fault(kind: StationFaultKind) -> Change:
    def change(session: Session, station: Station, now: datetime) -> None:
        row = {"station_id": station.id, "kind": kind, "boot": 1, "seq": 1, "at": now, "active": True}
        session.add(StationFaultState(**row))

    return change


def _jams(session: Session, station: Station, now: datetime) -> None:
    for n in range(5):
        kind = HealthKind.JAM if n % 2 else HealthKind.FAILED_EJECT
        session.add(HealthEvent(station_id=station.id, slot_number=n % 4, kind=kind, source=str(n), at=now - n * HOUR))


def _full(session: Session, station: Station, now: datetime) -> None:
    for number in range(1, 5):
        put_bank(session, station, number, now, charge_pct=50)


def _unanswered(session: Session, station: Station, now: datetime) -> None:
    session.merge(StationReconciliation(station_id=station.id, due_at=now, answered_at=now - HOUR, unanswered=3))


def _connections(session: Session, station: Station, now: datetime) -> None:
    """Two within the quarter of an hour, and one before."""
    for epoch, at in enumerate((now - HOUR, now - MINUTE, now), 1):
        ended = {"ended_at": at, "cause": "superseded"} if epoch < 3 else {}
        words = {"firmware": "1", "hardware": "x", "reset_cause": "reconnect"}
        row = DeviceSession(
            station_id=station.id, epoch=epoch, boot=1, connected_at=at, last_seen_at=at, **words, **ended
        )
        session.add(row)


def _theft(session: Session, station: Station, now: datetime) -> None:
    kind = HealthKind.ANTI_THEFT
    session.add(HealthEvent(station_id=station.id, slot_number=1, kind=kind, source="1:1", at=now - HOUR))


def _calls(*doubts: Doubt | None) -> Change:
    """Of `connect`, a minute apart, and one of the day before."""

    def change(session: Session, station: Station, now: datetime) -> None:
        times = [now - 24 * HOUR, *(now - (number + 1) * MINUTE for number in range(len(doubts)))]
        for at, doubt in zip(times, (Doubt.NETWORK, *doubts), strict=True):
            words = {"kind": "connect", "target": "/", "body": b"", "source": "10.0.0.1", "signed": True}
            session.add(DeviceCall(station_id=station.id, doubt=doubt, received_at=at, **words))

    return change


def test_a_restart_is_no_reason_to_doubt_a_cabinet(session: Session, now: datetime) -> None:
    _calls(Doubt.CONNECTED, None, None, None)(session, add_station(session, now), now)
    session.flush()
    rule(session, now, AlertKind.CONNECT, threshold=2)
    assert alerting.sweep(session, now).opened == 0


@pytest.mark.parametrize(
    ("kind", "threshold", "change"),
    [
        (AlertKind.OFFLINE, None, go_offline),
        (AlertKind.SMOKE, None, _fault(StationFaultKind.SMOKE)),
        (AlertKind.TAMPER, None, _fault(StationFaultKind.TAMPER)),
        (AlertKind.POWER_LOST, None, _fault(StationFaultKind.POWER_LOST)),
        (AlertKind.OVER_TEMPERATURE, 50, _fault(StationFaultKind.OVER_TEMPERATURE)),
        (AlertKind.OVER_TEMPERATURE, 50, lambda s, station, now: put_bank(s, station, 2, now, temperature_c=50.5)),
        (AlertKind.LOW_CHARGE, 20, lambda s, station, now: put_bank(s, station, 2, now, charge_pct=19)),
        (AlertKind.FULL, 0, _full),
        (AlertKind.EMPTY, 0, observe),
        (AlertKind.JAM_RATE, 5, _jams),
        (AlertKind.INVENTORY, None, _unanswered),
        (AlertKind.FIRMWARE, None, _failed_update),
        (AlertKind.FLAPPING, 2, _connections),
        (AlertKind.ANTI_THEFT, 1, _theft),
        (AlertKind.CONNECT, 2, _calls(Doubt.CONNECTED, Doubt.CONNECTED, None)),
        (AlertKind.CONNECT, 2, _calls(Doubt.NETWORK)),
    ],
)
def test_each_kind_finds_what_it_is_for(
    session: Session, now: datetime, kind: AlertKind, threshold: float | None, change: Change
) -> None:
    """And only at that station, in its scope, and not at a station that is out of use."""
    station, other, disabled = (add_station(session, now, code, city="Bern") for code in ("A", "B", "C"))
    for each in (station, other, disabled):
        observe(session, each, now)
    put_bank(session, other, 1, now, charge_pct=90, temperature_c=30.0, health_pct=99)
    change(session, station, now)
    if kind is not AlertKind.INVENTORY:
        change(session, disabled, now)
    disabled.status = StationStatus.DISABLED
    session.flush()
    rule(session, now, kind, name="all", threshold=threshold)
    rule(session, now, kind, name="here", threshold=threshold, station="A")
    rule(session, now, kind, name="town", threshold=threshold, city="Bern")
    rule(session, now, kind, name="there", threshold=threshold, station="B")
    rule(session, now, kind, name="elsewhere", threshold=threshold, city="Basel")
    rule(session, now, kind, name="off", threshold=threshold, enabled=False)
    assert alerting.look_at_stations(session, [other.id], now).opened == 0
    assert alerting.look_at_stations(session, [station.id], now).opened == 3
    assert alerting.sweep(session, now).opened == 0
    found = alerts.list_alerts(session, Only(station="A", kind=kind), 10)
    assert sorted(alert.rule.name for alert in found) == ["all", "here", "town"]


def test_a_look_at_many_stations_is_a_look_at_each(session: Session, now: datetime) -> None:
    stations = [add_station(session, now, f"S{number}") for number in range(6)]
    rule(session, now, AlertKind.OFFLINE, name="at once")
    rule(session, now, AlertKind.OFFLINE, name="later", duration=HOUR)
    rule(session, now, AlertKind.OFFLINE, name="one", station="S3")
    for station in stations:
        go_offline(session, station, now)
    assert alerting.look_at_stations(session, {each.id for each in stations[:5]}, now).opened == 6
    assert len(session.scalars(select(AlertWatch)).all()) == 5
    for station in stations[:4]:
        go_offline(session, station, now + MINUTE, online=True)
    everywhere = {each.id for each in stations}
    done = alerting.look_at_stations(session, everywhere, now + MINUTE)
    assert (done.opened, done.closed) == (1, 0)
    assert len(session.scalars(select(AlertWatch)).all()) == 2  # S4, and S5 since this look
    assert alerting.look_at_stations(session, everywhere, now + 7 * MINUTE).closed == 5
    assert sorted(current(session)) == [(f"station:{each.id}", "open") for each in stations[4:]]


def test_a_look_at_many_stations_asks_no_more_than_one(session: Session, now: datetime) -> None:
    stations = [add_station(session, now, f"S{number}") for number in range(6)]
    for kind in (AlertKind.OFFLINE, AlertKind.SMOKE, AlertKind.TAMPER):
        rule(session, now, kind)
    for station in stations:
        go_offline(session, station, now)
    alerting.look_at_stations(session, {each.id for each in stations}, now)
    asked: list[str] = []
    event.listen(session.connection(), "before_cursor_execute", lambda *args: asked.append(args[2]))
    numbers = []
    for some in (stations[:1], stations):
        session.flush()
        asked.clear()
        alerting.look_at_stations(session, {each.id for each in some}, now)
        numbers.append(len(asked))
    assert numbers == [7, 7]  # lock, rules, one for each of three, alerts, what is watched


def test_temperatures_have_hysteresis(session: Session, now: datetime) -> None:
    station = add_station(session, now)
    bank = put_bank(session, station, 1, now, temperature_c=51.0)
    rule(session, now, AlertKind.OVER_TEMPERATURE, threshold=50, clear_after=timedelta(0))
    opened, closed = [], []
    for minute, warmth in enumerate([49.0, 51.0, 48.0, 50.5, 46.0, 48.0, 50.0]):
        session.execute(
            update(PowerBank)
            .where(PowerBank.id == bank.id)
            .values(temperature_c=warmth, sampled_at=now + minute * MINUTE)
        )
        done = alerting.sweep(session, now + minute * MINUTE)
        opened.append(done.opened)
        closed.append(done.closed)
    assert opened == [0, 1, 0, 0, 0, 0, 1]
    assert closed == [0, 0, 0, 0, 1, 0, 0]


def test_acknowledged_once_noted_again_closed_by_itself(session: Session, now: datetime) -> None:
    station = add_station(session, now)
    rule(session, now, AlertKind.OFFLINE)
    go_offline(session, station, now)
    alerting.sweep(session, now)
    (alert,) = alerts.list_alerts(session, Only(), 10)
    for note in ("on my way", "on my way", None):
        alerts.acknowledge(session, alert.id, actor_id=None, note=note, now=now + MINUTE)
    alerting.sweep(session, now + 2 * MINUTE)
    assert current(session) == [(alert.subject, "acknowledged")]
    go_offline(session, station, now + 3 * MINUTE, online=True)
    alerting.sweep(session, now + 3 * MINUTE)
    alerting.sweep(session, now + 9 * MINUTE)
    whole = alerts.get_alert(session, alert.id)
    assert [each.what for each in whole.history] == ["opened", "acknowledged", "noted", "closed"]
    assert (whole.state, whole.close_reason) == (AlertState.CLOSED, "cleared")
    with pytest.raises(AlertClosed):
        alerts.acknowledge(session, alert.id, actor_id=None, note=None, now=now)
    with pytest.raises(AlertNotFound):
        alerts.get_alert(session, 10**9)


def test_rules_that_change_or_go_close_what_they_found(session: Session, now: datetime) -> None:
    station = add_station(session, now)
    made = rule(session, now, AlertKind.OFFLINE, name="off")
    go_offline(session, station, now)
    alerting.sweep(session, now)
    spec = RuleSpec("off", AlertKind.OFFLINE, Severity.CRITICAL, duration=HOUR)
    alerts.change_rule(session, made.id, spec, now + MINUTE)
    assert current(session) == []
    assert alerting.sweep(session, now + 61 * MINUTE).opened == 1
    alerts.remove_rule(session, made.id, now + 62 * MINUTE)
    assert current(session) == []
    assert alerting.sweep(session, now + 63 * MINUTE).opened == 0
    with pytest.raises(AlertRuleNotFound):
        alerts.remove_rule(session, made.id, now)
    reasons = session.scalars(select(Alert.close_reason).order_by(Alert.id)).all()
    assert reasons == ["rule_changed", "rule_removed"]


def test_rules_that_make_no_sense(session: Session, now: datetime) -> None:
    wrong: list[dict[str, Any]] = [
        {"kind": AlertKind.OFFLINE, "threshold": 1},
        {"kind": AlertKind.LOW_CHARGE},
        {"kind": AlertKind.LOW_CHARGE, "threshold": 101},
        {"kind": AlertKind.OFFLINE, "duration": -MINUTE},
        {"kind": AlertKind.OFFLINE, "clear_after": timedelta(days=31)},
        {"kind": AlertKind.OFFLINE, "station": "A", "city": "Bern"},
    ]
    add_station(session, now)
    for each in wrong:
        with pytest.raises(InvalidInput):
            rule(session, now, **each)
    rule(session, now, AlertKind.SMOKE, name="one")
    with pytest.raises(AlertRuleNameTaken):
        rule(session, now, AlertKind.TAMPER, name="one")


def test_the_rules_of_a_new_fleet(session: Session, now: datetime) -> None:
    rows = fixtures.read(INITIAL)["alert_rules"]
    assert alerts.load_rules(session, rows, now) == len(rows)
    assert {each.kind for each in alerts.list_rules(session)} == set(AlertKind)
    alerts.remove_rule(session, alerts.list_rules(session)[0].id, now)
    assert alerts.load_rules(session, rows, now) == 0  # what was removed stays removed
    with pytest.raises(InvalidInput):
        alerts.load_rules(session, [{"name": "x", "kind": "weather", "severity": "info"}], now)


def test_many_that_look_at_once_open_one_alert(clean_database: Database, now: datetime) -> None:
    with Session(clean_database.engine) as session:
        station = add_station(session, now)
        go_offline(session, station, now)
        rule(session, now, AlertKind.OFFLINE)
        session.commit()
        station_id = station.id
    with wide_engine(clean_database.url, 6) as engine:

        def look(number: int) -> int:
            with Session(engine) as own, own.begin():
                if number % 2:
                    return alerting.sweep(own, now).opened
                return alerting.look_at_stations(own, [station_id], now).opened

        assert sorted(map(str, together(6, look))) == ["0", "0", "0", "0", "0", "1"]
    with Session(clean_database.engine) as session:
        assert len(session.scalars(select(Alert)).all()) == 1


@given(
    holds=st.lists(st.sampled_from(["no", "holds", "fires"]), max_size=40),
    duration=st.integers(0, 5),
    clear_after=st.integers(0, 5),
)
def test_an_alert_needs_its_time_both_ways(holds: list[str], duration: int, clear_after: int) -> None:
    """Minute by minute: it opens only after it fired for `duration`, and closes only after `clear_after` without."""
    since: datetime | None = None
    clear: datetime | None = None
    is_open = False
    for minute, state in enumerate(holds):
        now = NOON + minute * MINUTE
        found = None if state == "no" else Finding("station:1", 1, fires=state == "fires")
        if is_open:
            step = with_alert(found, clear, clear_after * MINUTE, now)
            if step is Step.CLOSE:
                assert set(holds[minute - clear_after : minute + 1]) == {"no"}
                is_open, clear, since = False, None, None
            else:
                clear = None if step is Step.HOLD else clear or now
            continue
        step = without_alert(found, since, duration * MINUTE, now)
        if step is Step.OPEN:
            assert set(holds[minute - duration : minute + 1]) == {"fires"}
            is_open, clear = True, None
        elif step is Step.WATCH:
            since = since or now
        else:
            since = None
