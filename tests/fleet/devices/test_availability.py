"""How long a station was there, and why it was not."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from fleet.devices import presence
from fleet.devices.availability import availability, offline_by_cause, status_history
from fleet.devices.models import BackendOutage
from fleet.stations import service
from fleet.stations.models import Station, StationStatus
from tests.factories import add_station

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Day:
    """A day of one station, told by the minute."""

    def __init__(self, session: Session, now: datetime, code: str = "A", **spec: str) -> None:
        self.session = session
        self.midnight = now
        self.station: Station = add_station(session, now, code, 1, online=False, **spec)

    def at(self, minutes: float) -> datetime:
        return self.midnight + minutes * MINUTE

    def goes(self, minutes: float, *, online: bool, cause: str, since: float | None = None) -> None:
        begun = {} if since is None else {self.station.id: self.at(since)}
        presence.change(
            self.session, [self.station.id], online=online, cause=cause, trigger="test", since=begun,
            now=self.at(minutes),
        )  # fmt: skip


def test_a_day_adds_up(session: Session, now: datetime) -> None:
    day = Day(session, now)
    day.goes(60, online=True, cause="booted")
    day.goes(125, online=False, cause="silent", since=120)
    day.goes(180, online=True, cause="booted")
    service.set_status(session, "A", StationStatus.MAINTENANCE, day.at(200))
    day.goes(240, online=False, cause="power")
    service.set_status(session, "A", StationStatus.ACTIVE, day.at(250))
    session.flush()
    found = availability(session, day.station.id, day.at(0), day.at(300))
    assert (found.unknown, found.online, found.offline) == (HOUR, 2 * HOUR, 2 * HOUR)
    assert found.by_cause == {"silent": HOUR, "power": HOUR}
    assert (found.losses, found.share) == (2, 0.5)
    inside = availability(session, day.station.id, day.at(150), day.at(200))
    assert (inside.online, inside.offline, inside.losses) == (20 * MINUTE, 30 * MINUTE, 0)
    # Away since before an operator's act, which began no new spell.
    late = availability(session, day.station.id, day.at(255), day.at(265))
    assert (late.offline, late.by_cause) == (10 * MINUTE, {"power": 10 * MINUTE})


def test_a_silence_counts_from_the_last_word_although_it_was_noticed_later(session: Session, now: datetime) -> None:
    day = Day(session, now)
    day.goes(0, online=True, cause="booted")
    day.goes(70, online=False, cause="silent", since=48)
    found = availability(session, day.station.id, day.at(0), day.at(60))
    assert (found.online, found.offline) == (48 * MINUTE, 12 * MINUTE)


def test_time_in_which_nobody_listened_is_neither(session: Session, now: datetime) -> None:
    day = Day(session, now)
    day.goes(0, online=True, cause="booted")
    session.add(BackendOutage(cause="backend", since=day.at(10), until=day.at(20)))
    session.add(BackendOutage(cause="broker", since=day.at(50), until=None))
    session.flush()
    found = availability(session, day.station.id, day.at(0), day.at(60))
    assert (found.online, found.unobserved, found.offline, found.unknown) == (
        40 * MINUTE, 20 * MINUTE, timedelta(0), timedelta(0),
    )  # fmt: skip


def test_a_station_that_was_never_heard_of_is_unknown(session: Session, now: datetime) -> None:
    day = Day(session, now)
    found = availability(session, day.station.id, day.at(0), day.at(60))
    assert (found.unknown, found.share) == (HOUR, None)


def test_the_history_has_durations_and_what_brought_each_change_about(session: Session, now: datetime) -> None:
    day = Day(session, now)
    day.goes(0, online=True, cause="booted")
    day.goes(30, online=False, cause="network", since=20)
    service.set_status(session, "A", StationStatus.MAINTENANCE, day.at(50))
    session.flush()
    spells = status_history(session, day.station.id)
    assert [(each.online, each.cause, each.status, each.lasted(day.at(60))) for each in spells] == [
        (False, "operator", StationStatus.MAINTENANCE, 10 * MINUTE),
        (False, "network", StationStatus.ACTIVE, 30 * MINUTE),
        (True, "booted", StationStatus.ACTIVE, 20 * MINUTE),
    ]
    assert spells[0].evidence == {"before": "active", "after": "maintenance"}
    assert [each.id for each in status_history(session, day.station.id, limit=1, before=spells[0].id)] == [spells[1].id]


def test_time_offline_by_cause_over_the_fleet_and_a_city(session: Session, now: datetime) -> None:
    one, two = Day(session, now, "A", city="Zug"), Day(session, now, "B", city="Bern")
    for day in (one, two):
        day.goes(0, online=True, cause="booted")
        day.goes(10, online=False, cause="power")
        day.goes(20, online=True, cause="booted")
    two.goes(30, online=False, cause="network")
    found = offline_by_cause(session, one.at(0), one.at(60))
    assert [(row.cause, row.stations, row.losses, row.offline) for row in found] == [
        ("network", 1, 1, 30 * MINUTE),
        ("power", 2, 2, 20 * MINUTE),
    ]
    assert [row.cause for row in offline_by_cause(session, one.at(0), one.at(60), city="Zug")] == ["power"]
