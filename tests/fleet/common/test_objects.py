"""Objects of rows that the driver read, and changes written without the unit of work: as SQLAlchemy has them."""

import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import ARRAY, Integer, any_, bindparam, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload, object_session

from firmware_protocol.commands import EjectPowerBank
from firmware_protocol.types import SlotState
from fleet.common.objects import Gathered
from fleet.common.prepared import Prepared
from fleet.common.roundtrips import flush_later
from fleet.db import Base
from fleet.devices.commands import queue_command
from fleet.devices.models import CommandState, DeviceCommand
from fleet.stations.models import PowerBank, PowerBankState, Station, StationSlot
from tests.factories import add_banks, add_station
from tests.statements import asked

_HERE = StationSlot.station_id == bindparam("station_id", type_=Integer())
_IDS = bindparam("ids", type_=ARRAY(Integer()))
_GATHERED = Gathered(
    [Prepared(select(StationSlot.id).where(_HERE).with_for_update(), planned=True)],
    (StationSlot, _HERE),
    (PowerBank, PowerBank.id == any_(_IDS)),
    (DeviceCommand, DeviceCommand.station_id == bindparam("station_id", type_=Integer())),
)


@pytest.fixture
def station(session: Session, now: datetime) -> Station:
    """With a bank in its first slot, another bank elsewhere, and an order that was sent."""
    station = add_station(session, now, "A", 2)
    add_banks(session, now, ["P1", "P2"])
    slots = list(session.scalars(select(StationSlot).order_by(StationSlot.number)))
    first = session.scalars(select(PowerBank.id).where(PowerBank.serial == "P1")).one()
    slots[0].state, slots[0].power_bank_id, slots[0].observed_at = SlotState.OCCUPIED, first, now
    command = EjectPowerBank(slot=1, serial="P1")
    order = queue_command(session, station_id=station.id, command=command, deadline=now, now=now)
    order.state, order.payload = CommandState.SENT, b"\0frame"
    session.flush()
    session.info["ids"] = list(session.scalars(select(PowerBank.id).order_by(PowerBank.serial)))
    session.expunge_all()
    return station


def _gather(session: Session, station: Station) -> tuple[list[StationSlot], list[PowerBank], list[DeviceCommand]]:
    slots, found, commands = _GATHERED.all(session, station_id=station.id, ids=session.info["ids"])
    return slots, found, commands


def _values(found: Base) -> dict[str, Any]:
    return {each.key: getattr(found, each.key) for each in inspect(found).mapper.column_attrs}


def test_they_are_what_sqlalchemy_loads(session: Session, station: Station) -> None:
    gathered = [each for part in _gather(session, station) for each in part]
    assert [type(each).__name__ for each in gathered] == ["StationSlot"] * 2 + ["PowerBank"] * 2 + ["DeviceCommand"]
    made = [(_values(each), {key: type(value) for key, value in _values(each).items()}) for each in gathered]
    assert not session.dirty
    assert all(each in session and object_session(each) is session for each in gathered)
    session.expunge_all()
    for each, (values, types) in zip(gathered, made, strict=True):
        loaded = session.get_one(type(each), values["id"])
        assert _values(loaded) == values
        assert {key: type(value) for key, value in _values(loaded).items()} == types


def test_what_the_session_knows_stays_one_object_and_is_read_anew(session: Session, station: Station) -> None:
    slot = session.scalars(
        select(StationSlot).options(joinedload(StationSlot.power_bank)).where(StationSlot.number == 1)
    ).one()
    bank = session.get_one(PowerBank, session.info["ids"][1])
    session.execute(text("UPDATE power_bank SET charge_pct = 7"))
    session.execute(text("UPDATE station_slot SET health_score = 3, power_bank_id = NULL"))
    session.expire(bank, ["serial"])
    slots, banks, _ = _gather(session, station)
    assert (slots[0], slot.health_score, slot.power_bank_id) == (slot, 3, None)
    assert "power_bank" not in inspect(slot).dict, "what it referred to was another time"
    with asked(session) as heard:
        assert (banks[1], bank.charge_pct, bank.serial) == (bank, 7, "P2")
    assert not heard


def test_what_was_changed_before_is_written_and_read(session: Session, station: Station) -> None:
    _, banks, _ = _gather(session, station)
    banks[0].charge_pct = 12
    assert _gather(session, station)[1][0].charge_pct == 12
    assert session.scalar(text("SELECT charge_pct FROM power_bank WHERE serial = 'P1'")) == 12


def test_changes_are_one_update_a_row_of_what_changed(session: Session, station: Station, now: datetime) -> None:
    slots, banks, (order,) = _gather(session, station)
    slots[0].power_bank_id, slots[0].observed_at = None, now + timedelta(hours=1)
    banks[0].state, banks[0].charge_pct = PowerBankState.RENTED, 80
    banks[1].charge_pct = banks[1].charge_pct
    order.args = {"slot": 2}
    with asked(session) as heard:
        flush_later(session)
        assert not session.dirty
        flush_later(session)
    assert [sql.split("SET")[0].split()[1] for sql, _ in heard] == ["device_command", "power_bank", "station_slot"]
    assert "serial" not in "".join(sql for sql, _ in heard)
    known = [(each, _values(each)) for each in (slots[0], banks[0], order)]
    session.expire_all()
    for each, values in known:
        assert _values(each) == values


def test_what_a_savepoint_takes_back_is_read_again(session: Session, station: Station) -> None:
    _, banks, _ = _gather(session, station)
    with session.begin_nested() as savepoint:
        banks[0].charge_pct = 33
        flush_later(session)
        savepoint.rollback()
    assert banks[0].charge_pct is None


def test_what_is_set_before_it_is_read_again_is_written(session: Session, station: Station) -> None:
    """As after a rollback to a savepoint: nothing of the object is known, its key neither."""
    _, banks, _ = _gather(session, station)
    session.expire(banks[0])
    banks[0].charge_pct = 44
    flush_later(session)
    assert banks[0].serial == "P1"
    assert session.scalar(text("SELECT charge_pct FROM power_bank WHERE serial = 'P1'")) == 44


def test_what_was_gathered_while_it_was_stale_is_fresh(session: Session, station: Station) -> None:
    slots, banks, _ = _gather(session, station)
    with session.begin_nested() as savepoint:
        banks[0].charge_pct, slots[1].health_score = 33, 1
        flush_later(session)
        savepoint.rollback()
    _gather(session, station)
    with asked(session) as heard:
        assert _values(banks[0]) | {"charge_pct": None, "serial": "P1"} == _values(banks[0])
        banks[0].charge_pct = 5
        flush_later(session)
    assert len(heard) == 1


def test_what_is_more_than_columns_is_left_to_the_unit_of_work(session: Session, station: Station) -> None:
    slots, banks, _ = _gather(session, station)
    banks[0].cycles = PowerBank.id + 1
    banks[1].charge_pct = 5
    session.add(PowerBank(serial="NEW", created_at=station.created_at, updated_at=station.created_at))
    flush_later(session)
    assert banks[0].cycles == banks[0].id + 1
    assert session.scalars(select(PowerBank.charge_pct).where(PowerBank.serial == "P2")).one() == 5
    assert session.scalar(text("SELECT count(*) FROM power_bank WHERE serial = 'NEW'")) == 1
    assert slots[0].power_bank_id is not None


def test_what_the_database_refuses_fails_with_what_comes_next(session: Session, station: Station) -> None:
    _, banks, _ = _gather(session, station)
    banks[1].serial = "P1"
    flush_later(session)
    with pytest.raises(IntegrityError, match="uq_power_bank_serial"):
        session.scalar(text("SELECT 1"))


def test_who_imports_rentals_alone_need_not_know_every_table_yet() -> None:
    """Foreign keys of rentals point into areas that are imported later, or by nobody."""
    subprocess.run([sys.executable, "-c", "import fleet.rentals.locking"], check=True, timeout=120)
