"""The slots and banks that one event is about are found by indexes, however many there are elsewhere."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from fleet.stations import plain_inventories
from fleet.stations.picture import look
from tests.factories import add_banks, add_station
from tests.statements import asked, scans


def test_an_event_looks_at_its_own_slots_only(session: Session, now: datetime) -> None:
    station = add_station(session, now, "A")
    add_banks(session, now, ["P1"])
    looks: list[Callable[[], object]] = [
        lambda: look(session, station.id, {1}, ["P1"], now),
        lambda: look(session, station.id, None, ["P1"], now),
    ]
    for each in looks:
        with asked(session) as statements:
            each()
        assert ["FOR NO KEY UPDATE" in sql for sql, _ in statements] == [True, True, False]
        for sql, values in statements:
            assert scans(session, sql, values) == []


def test_inventories_of_many_look_at_their_own_slots_only(session: Session, now: datetime) -> None:
    values = {"stations": "{1,2}", "serials": "{P1}", "held": "{1}", "banks": "{1}"}
    for sql in (plain_inventories._LOCK_SLOTS, plain_inventories._LOCK_BANKS, plain_inventories._MOVED):
        assert scans(session, sql, values) == []
