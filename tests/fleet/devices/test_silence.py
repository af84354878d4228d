"""Why stations are silent: they, the broker, their place, or we."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.messages import Booted, Offline
from firmware_protocol.types import OfflineCause, StationFaultKind
from fleet.common.models import OutboxEvent
from fleet.devices import causes, presence, sessions, silence
from fleet.devices.causes import Lateness, of_silence
from fleet.devices.models import BackendOutage, CommandPurpose, DeviceCommand
from fleet.devices.presence import Habit
from fleet.devices.sessions import BootNotice, OfflineNotice
from fleet.stations.models import Station, StationFaultState, StationStatusHistory
from tests.factories import add_station

SECOND = timedelta(seconds=1)
NOBODY = Lateness(100, 1)


class Sky:
    """Stations that connect and fall silent, and gateways that listen or do not."""

    def __init__(self, session: Session, now: datetime) -> None:
        self.session = session
        self.now = now
        self.epoch = 0

    def station(self, code: str, **spec: Any) -> Station:
        station = add_station(self.session, self.now, code, 1, online=False, **spec)
        self.boot(station)
        return station

    def boot(self, station: Station) -> None:
        self.epoch += 1
        booted = Booted(epoch=self.epoch, firmware="1", hardware="h", slots=1)
        notice = BootNotice(station.id, self.epoch, booted, None, self.now)
        sessions.open_sessions(self.session, [notice], self.now, inventory_deadline=self.now + 60 * SECOND)

    def listen(self, *, name: str = "g", connected: bool = True, for_s: float = 3600) -> None:
        presence.gateway_beat(
            self.session,
            name=name,
            started_at=self.now,
            connected_since=self.now - for_s * SECOND if connected else None,
            now=self.now,
        )

    def later(self, seconds: float) -> None:
        self.now += seconds * SECOND

    def hear(self, *stations: Station) -> list[int]:
        return presence.heard(self.session, [station.id for station in stations], self.now)

    def mark(self) -> list[int]:
        return silence.mark_silent(self.session, self.now, 2.5)

    def watch(self) -> str | None:
        cause = silence.watch_gateways(self.session, self.now)
        self.session.flush()
        return cause

    def fall_silent(self, seconds: float = 80) -> list[int]:
        self.later(seconds)
        self.listen()
        return self.mark()

    def history(self, station: Station) -> list[StationStatusHistory]:
        query = select(StationStatusHistory).where(StationStatusHistory.station_id == station.id)
        return list(self.session.scalars(query.order_by(StationStatusHistory.id)))

    def cause(self, station: Station) -> str | None:
        self.session.refresh(station)
        assert not station.online
        assert self.history(station)[-1].cause == station.offline_cause
        return station.offline_cause


@pytest.fixture
def sky(session: Session, now: datetime) -> Sky:
    return Sky(session, now)


def test_one_that_is_silent_for_no_reason(sky: Sky) -> None:
    station, other = sky.station("A"), sky.station("B")
    sky.later(10)
    sky.hear(station)
    heard_at = sky.now
    sky.later(70)
    sky.hear(other)
    assert sky.fall_silent(10) == [station.id]
    assert sky.cause(station) == "silent"
    last = sky.history(station)[-1]
    assert (last.trigger, last.since, last.at, last.status) == ("silence", heard_at, sky.now, station.status)
    assert last.evidence == {"allowed_s": 75.0, "late_of_fleet": "1/2", "late_of_site": "1/2"}


def test_no_mains_before_the_silence_is_power(sky: Sky) -> None:
    by_heartbeat, by_fault = sky.station("A"), sky.station("B")
    presence.learn(sky.session, [Habit(by_heartbeat.id, None, None, mains=False)])
    lost = {"active": True, "detail": None, "boot": 1, "seq": 1, "at": sky.now}
    sky.session.add(StationFaultState(station_id=by_fault.id, kind=StationFaultKind.POWER_LOST, **lost))
    sky.session.flush()
    assert len(sky.fall_silent()) == 2
    assert [sky.cause(each) for each in (by_heartbeat, by_fault)] == ["power", "power"]


@pytest.mark.parametrize(
    ("told", "mains", "cause"),
    [
        (OfflineCause.UNKNOWN, None, "network"),
        (OfflineCause.UNKNOWN, True, "network"),
        (OfflineCause.NETWORK, False, "power"),
        (OfflineCause.POWER, True, "power"),
        (OfflineCause.SHUTDOWN, False, "shutdown"),
    ],
)
def test_a_will_is_the_network_unless_the_cabinet_knew_better(
    sky: Sky, told: OfflineCause, mains: bool | None, cause: str
) -> None:
    station = sky.station("A")
    presence.learn(sky.session, [Habit(station.id, None, None, mains=mains)])
    notice = OfflineNotice(station.id, Offline(epoch=sky.epoch, cause=told))
    assert sessions.close_sessions(sky.session, [notice], sky.now) == [station.id]
    assert sky.cause(station) == cause
    assert sky.history(station)[-1].trigger == "will"


def _far_apart(sky: Sky, count: int) -> list[Station]:
    return [sky.station(f"S{n}", latitude=40.0 + n / 10) for n in range(count)]


def test_most_of_the_fleet_at_once_is_the_broker_to_the_last_of_them(sky: Sky) -> None:
    """Their last heartbeats are spread over a period, so that they are found one after the other."""
    stations = _far_apart(sky, 16)
    for station in stations[:14]:
        sky.later(2)
        sky.hear(station)
    sky.later(40)
    found: list[int] = []
    for _ in range(14):
        sky.hear(*stations[14:])
        found += sky.fall_silent(4)
    assert len(found) == 14
    assert {sky.cause(station) for station in stations[:14]} == {"broker"}


def test_all_of_one_place_at_once_is_the_place(sky: Sky) -> None:
    station, *others = [sky.station(f"S{n}") for n in range(4)]
    elsewhere = [sky.station(f"E{n}", latitude=30.0 + n) for n in range(6)]
    sky.later(70)
    sky.hear(*elsewhere)
    assert len(sky.fall_silent(10)) == 4
    assert {sky.cause(each) for each in (station, *others)} == {"site"}


def test_the_rules_of_causes() -> None:
    sure: dict[str, Any] = {"no_mains": False, "fleet": NOBODY, "site": Lateness(1, 1), "outage": None}
    assert of_silence(**sure) == "silent"
    assert of_silence(**{**sure, "site": Lateness(4, 4)}) == "site"
    assert of_silence(**{**sure, "site": Lateness(4, 3)}) == "silent"
    assert of_silence(**{**sure, "site": Lateness(4, 4), "fleet": Lateness(20, 10)}) == "broker"
    assert of_silence(**{**sure, "fleet": Lateness(9, 9)}) == "silent"
    assert of_silence(**{**sure, "outage": "backend", "fleet": Lateness(20, 20)}) == "backend"
    assert of_silence(**{**sure, "outage": "backend", "no_mains": True}) == "power"
    assert causes.of_will(OfflineCause.BROKER, no_mains=True) == "broker"


def test_what_was_lost_while_nobody_listened_was_lost_with_the_backend(sky: Sky) -> None:
    station = sky.station("A")
    sky.listen()
    killed_at = sky.now
    sky.later(5)
    assert sky.watch() is None
    sky.later(300)
    assert sky.watch() == "backend"
    assert sky.watch() == "backend"
    assert sky.mark() == []  # silence proves nothing
    sky.later(100)
    sky.listen(for_s=10)
    assert sky.watch() is None
    [outage] = sky.session.scalars(select(BackendOutage))
    assert (outage.cause, outage.since, outage.until) == ("backend", killed_at, sky.now - 10 * SECOND)
    assert sky.mark() == []  # it may still speak
    sky.later(80)
    sky.listen(for_s=90)
    assert sky.mark() == [station.id]
    assert sky.cause(station) == "backend"


def test_gateways_without_a_broker_are_an_outage_of_the_broker(sky: Sky) -> None:
    sky.listen(connected=False)
    assert sky.watch() == "broker"
    sky.listen(name="other", for_s=0)
    assert sky.watch() is None
    assert [row.cause for row in sky.session.scalars(select(BackendOutage))] == ["broker"]


def test_each_station_has_a_silence_of_its_own(sky: Sky) -> None:
    quick, slow = sky.station("Q"), sky.station("S")
    presence.learn(sky.session, [Habit(slow.id, 600, 1290, mains=None)])
    assert sky.fall_silent(80) == [quick.id]
    assert sky.fall_silent(1200) == []
    assert sky.fall_silent(20) == [slow.id]


def test_a_station_is_back_with_its_second_word_and_is_asked_what_it_holds(sky: Sky) -> None:
    station = sky.station("A")
    sky.fall_silent()
    assert sky.hear(station) == []
    first_word = sky.now
    sky.later(200)
    assert sky.hear(station) == []  # too long after the first: this is the first one now
    assert sky.now - first_word == 200 * SECOND
    first_word = sky.now
    sky.later(30)
    assert sky.hear(station) == [station.id]
    sky.session.refresh(station)
    assert (station.online, station.offline_cause) == (True, None)
    assert [(each.cause, each.trigger, each.since) for each in sky.history(station)][-1:] == [
        ("heard", "heard", first_word)
    ]
    asked = sky.session.scalars(select(DeviceCommand.purpose).order_by(DeviceCommand.id)).all()
    assert asked == [CommandPurpose.CONNECTED, CommandPurpose.HEARD_AGAIN]


def test_a_boot_is_a_return_at_once(sky: Sky) -> None:
    station = sky.station("A")
    sky.fall_silent()
    sky.boot(station)
    sky.session.refresh(station)
    assert station.online


def test_others_hear_of_every_change(sky: Sky) -> None:
    station = sky.station("A")
    booted_at = sky.now
    sky.fall_silent()
    silent_at = sky.now
    sky.later(10)
    sky.boot(station)
    query = select(OutboxEvent).where(OutboxEvent.name.like("devices.Station%")).order_by(OutboxEvent.id)
    told: Sequence[tuple[str, dict[str, Any]]] = [(each.name, each.payload) for each in sky.session.scalars(query)]
    assert told == [
        (
            "devices.StationOnline.v1",
            {"station_id": station.id, "cause": "booted", "since": booted_at.isoformat(), "offline_since": None},
        ),
        (
            "devices.StationOffline.v1",
            {"station_id": station.id, "cause": "silent", "since": booted_at.isoformat()},
        ),
        (
            "devices.StationOnline.v1",
            {
                "station_id": station.id,
                "cause": "booted",
                "since": sky.now.isoformat(),
                "offline_since": silent_at.isoformat(),
            },
        ),
    ]


def test_what_is_learned_is_written_when_it_is_news(sky: Sky) -> None:
    station = sky.station("A")
    presence.learn(sky.session, [Habit(station.id, 61.5, 153.75, mains=True)])
    sky.session.refresh(station)
    assert (station.period_s, station.silent_after_s, station.mains) == (61.5, 153.75, True)
    presence.learn(sky.session, [Habit(station.id, None, None, mains=None)])
    sky.session.refresh(station)
    assert (station.period_s, station.silent_after_s, station.mains) == (None, None, None)
