"""Relink cabinets over real TCP: let in, asked, told, heard; two gateways; garbage."""

import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from device_gateway.business import fact_handler
from device_gateway.gateway import Gateway
from firmware_protocol.commands import EjectPowerBank
from firmware_protocol.dialects.relink import codec, down, up
from firmware_protocol.dialects.relink.codes import Command, Generation
from firmware_protocol.dialects.relink.framing import Framer
from firmware_protocol.dialects.relink.packet import open_packet
from firmware_protocol.dialects.relink.records import Bank
from fleet.common.clock import utc_now
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import commands as orders
from fleet.devices import profiles
from fleet.devices.lockout import lock_out
from fleet.devices.models import CommandState, DeadLetter, DeviceCommand, DeviceSession
from fleet.settings import Settings
from fleet.stations.models import PowerBank, Station, StationSlot
from fleet.stations.service import add_power_banks
from tests.databases import Database
from tests.device_gateway.cabinet import eventually
from tests.device_gateway.conftest import StartGateway
from tests.device_gateway.support import add_station

BOX = "RL2H000000000001"
SECRET = b"of this cabinet"
TWO = Generation.TWO


def record(slot: int, bank: str, level: int = 90) -> Bank:
    return Bank(slot=slot, bank=bank, level_raw=level, mv=4000, ma=0, temp_c=25, status_raw=0xC0, soh=100)


BANKS = {1: "DCHA00000001", 2: "DCHA00000002"}


class RelinkCabinet:
    def __init__(self, port: int, *, box: str = BOX, secret: bytes = SECRET) -> None:
        self._secret = secret
        self._framer = Framer()
        self._box = box
        self._questions = 0
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)

    def login(self) -> down.DownMessage:
        banks = tuple(record(slot, bank) for slot, bank in BANKS.items())
        self.say(up.Login2(nonce=63_000, box_id=self._box, timestamp=0, slots_num=4, remain=len(banks), banks=banks))
        return self.hear()

    def say(self, *messages: up.UpMessage) -> None:
        """All in one write: frames are cut by length, not by read."""
        self.sock.sendall(b"".join(codec.encode_up(each, TWO, self._secret) for each in messages))

    def hear(self) -> down.DownMessage:
        """The next word that is no question for the inventory: those come whenever somebody is in doubt."""
        while (told := self._next()) == down.Ask(Command.INVENTORY):
            self._questions += 1
        return told

    def _next(self) -> down.DownMessage:
        while (frame := self._framer.take()) is None:
            data = self.sock.recv(4096)
            assert data, "the gateway closed the connection"
            self._framer.feed(data)
        return codec.decode_down(open_packet(frame, secret=self._secret), TWO)

    def answer_inventory(self, banks: dict[int, str]) -> None:
        """Waits for the question."""
        if not self._questions:
            assert self._next() == down.Ask(Command.INVENTORY)
            self._questions += 1
        self._questions -= 1
        records = tuple(record(slot, bank) for slot, bank in banks.items())
        self.say(up.Inventory2(slots_num=4, remain=len(records), banks=records))

    def is_cut(self) -> bool:
        self.sock.settimeout(10)
        while self.sock.recv(4096):
            pass
        return True


@pytest.fixture
def station_id(clean_database: Database, group: str) -> int:
    station_id = add_station(clean_database.engine, group)
    settings = Settings()
    with session_scope(clean_database.engine) as session:
        station = session.get_one(Station, station_id)
        station.dialect, station.hardware_id = "relink", BOX
        session.flush()
        profiles.set_secret(session, station, SECRET, Vault.of(settings, profiles.PURPOSE))
        add_power_banks(session, BANKS.values(), utc_now())
    return station_id


@pytest.fixture
def gateway(start_gateway: StartGateway, station_id: int) -> Gateway:
    return start_gateway(handle=fact_handler(Settings()), relink_port=0)


@pytest.fixture
def cabinet(gateway: Gateway) -> Iterator[RelinkCabinet]:
    cabinet = RelinkCabinet(port_of(gateway))
    yield cabinet
    cabinet.sock.close()


def port_of(gateway: Gateway) -> int:
    assert gateway.relink is not None
    return gateway.relink.port


@pytest.fixture
def look(clean_database: Database) -> Callable[[str], Any]:
    def scalar(query: str) -> Any:
        with Session(clean_database.engine) as session:
            return session.scalar(text(query))

    return scalar


def places(database: Database) -> dict[int, str]:
    query = select(StationSlot.number, PowerBank.serial).join(PowerBank, PowerBank.id == StationSlot.power_bank_id)
    with Session(database.engine) as session:
        return {row[0]: row[1] for row in session.execute(query)}


def order_eject(database: Database, station_id: int, slot: int) -> UUID:
    now = utc_now()
    with session_scope(database.engine) as session:
        command = EjectPowerBank(slot=slot, serial=BANKS[slot])
        return orders.queue_command(
            session, station_id=station_id, command=command, deadline=now + timedelta(seconds=15), now=now
        ).id


def state_of(database: Database, command_id: UUID) -> CommandState:
    with Session(database.engine) as session:
        return session.get_one(DeviceCommand, command_id).state


def test_a_cabinet_is_let_in_asked_told_and_heard(
    gateway: Gateway, cabinet: RelinkCabinet, station_id: int, clean_database: Database, look: Callable[[str], Any]
) -> None:
    reply = cabinet.login()
    assert isinstance(reply, down.LoginReply2)
    assert (reply.result, reply.nonce) == (1, 63_000)
    cabinet.answer_inventory(BANKS)
    eventually(lambda: places(clean_database) == BANKS)
    cabinet.say(up.Heartbeat(), up.Heartbeat())
    assert [cabinet.hear(), cabinet.hear()] == [down.Ask(Command.HEARTBEAT)] * 2
    for direction in ("in", "out"):
        labels = {"direction": direction, "command": "heartbeat"}
        assert gateway.metrics.registry.get_sample_value("voltbay_gateway_relink_frames_total", labels) == 2
    command = order_eject(clean_database, station_id, 2)
    assert cabinet.hear() == down.Borrow(2)
    cabinet.say(up.BorrowResult(slot=2, result=1, bank=BANKS[2], locks=b"\x00\x01\x00"))
    eventually(lambda: state_of(clean_database, command) is CommandState.SUCCEEDED)
    assert places(clean_database) == {1: BANKS[1]}
    # Back in another slot; the answer comes when it is stored, also to the repetition.
    back = up.Return2(record(3, BANKS[2], 40))
    cabinet.say(back, back)
    for _ in range(2):
        told = cabinet.hear()
        assert isinstance(told, down.ReturnReply2)
        assert told.result == 1
        assert places(clean_database) == {1: BANKS[1], 3: BANKS[2]}
    assert look("SELECT count(*) FROM power_bank_movement WHERE kind = 'inserted'") == 1
    assert look("SELECT string_agg(concat_ws(' ', topic, error_code, error), '; ') FROM dead_letter") is None


def test_a_failed_eject_is_decided_by_an_inventory(
    cabinet: RelinkCabinet, station_id: int, clean_database: Database
) -> None:
    cabinet.login()
    cabinet.answer_inventory(BANKS)
    eventually(lambda: places(clean_database) == BANKS)
    command = order_eject(clean_database, station_id, 1)
    assert cabinet.hear() == down.Borrow(1)
    cabinet.say(up.BorrowResult(slot=1, result=0, bank=BANKS[1], locks=b"\x00\x00\x00"))
    eventually(lambda: state_of(clean_database, command) is CommandState.UNKNOWN)
    cabinet.answer_inventory(BANKS)
    eventually(lambda: state_of(clean_database, command) is CommandState.FAILED)


def test_the_newest_login_wins_also_at_another_gateway(
    cabinet: RelinkCabinet,
    gateway: Gateway,
    start_gateway: StartGateway,
    station_id: int,
    clean_database: Database,
) -> None:
    cabinet.login()
    again = RelinkCabinet(port_of(gateway))
    again.login()
    assert cabinet.is_cut()
    other = start_gateway("two", handle=fact_handler(Settings()), relink_port=0)
    third = RelinkCabinet(port_of(other))
    third.login()
    third.answer_inventory(BANKS)
    eventually(lambda: places(clean_database) == BANKS)
    command = order_eject(clean_database, station_id, 1)
    assert third.hear() == down.Borrow(1)  # and not over the connection that is still open at the other gateway
    with Session(clean_database.engine) as session:
        assert session.get_one(DeviceCommand, command).claimed_by == other.name
        held = session.scalars(select(DeviceSession).where(DeviceSession.ended_at.is_(None))).one()
        assert held.held_by == other.name
    # What the superseded one says is not believed.
    again.say(up.Return2(record(4, "DCHA00000009")))

    def refused() -> bool:
        with Session(clean_database.engine) as session:
            return "superseded_connection" in set(session.scalars(select(DeadLetter.error_code)))

    eventually(refused)
    assert 4 not in places(clean_database)


def test_a_closed_connection_ends_the_session(
    cabinet: RelinkCabinet, station_id: int, look: Callable[[str], Any]
) -> None:
    cabinet.login()
    eventually(lambda: look("SELECT online FROM station"))
    cabinet.sock.close()
    eventually(lambda: not look("SELECT online FROM station"))


def test_a_revoked_station_is_cut_and_not_let_in_until_it_is_readmitted(
    cabinet: RelinkCabinet, gateway: Gateway, station_id: int, clean_database: Database, look: Callable[[str], Any]
) -> None:
    cabinet.login()
    eventually(lambda: look("SELECT online FROM station"))
    with session_scope(clean_database.engine) as session:
        lock_out(session, station_id, "stolen", utc_now())
    assert cabinet.is_cut()
    eventually(lambda: not look("SELECT online FROM station"))
    again = RelinkCabinet(port_of(gateway))
    again.say(up.Login2(nonce=1, box_id=BOX, timestamp=0, slots_num=4, remain=0))
    eventually(lambda: look("SELECT array_agg(error_code) FROM dead_letter") == ["locked_out"])
    assert not look("SELECT online FROM station")
    with session_scope(clean_database.engine) as session:
        profiles.readmit(session, station_id)
    assert isinstance(again.login(), down.LoginReply2)
    again.sock.close()


def test_strangers_and_forgers_are_not_let_in(
    gateway: Gateway, clean_database: Database, look: Callable[[str], Any]
) -> None:
    for box, secret in (("RL2H000000000009", SECRET), (BOX, b"guessed")):
        stranger = RelinkCabinet(port_of(gateway), box=box, secret=secret)
        stranger.say(up.Login2(nonce=1, box_id=box, timestamp=0, slots_num=4, remain=0))
        stranger.sock.close()
    first_generation = RelinkCabinet(port_of(gateway))
    first_generation.sock.sendall(codec.encode_up(up.Login1(nonce=1, box_id=BOX), Generation.ONE))
    codes = {"unknown_station", "token"}

    def kept() -> bool:
        with Session(clean_database.engine) as session:
            found = list(session.scalars(select(DeadLetter.error_code)))
        return set(found) == codes and len(found) == 3

    eventually(kept)
    assert not look("SELECT online FROM station")


def test_a_login_with_a_wrong_check_is_let_in_where_that_is_tolerated(
    gateway: Gateway, station_id: int, clean_database: Database, look: Callable[[str], Any]
) -> None:
    login = bytearray(codec.encode_up(up.Login2(nonce=1, box_id=BOX, timestamp=0, slots_num=4, remain=0), TWO, SECRET))
    login[4] ^= 0x2A
    cabinet = RelinkCabinet(port_of(gateway))
    cabinet.sock.sendall(login)
    eventually(lambda: look("SELECT array_agg(error_code) FROM dead_letter") == ["checksum"])
    with session_scope(clean_database.engine) as session:
        profiles.set_tolerance(session, station_id, tolerate_checksum=True)
    cabinet.sock.sendall(login)  # on the same connection
    assert isinstance(cabinet.hear(), down.LoginReply2)
    eventually(lambda: look("SELECT online FROM station"))
    cabinet.sock.close()


def test_garbage_is_kept_and_cut_and_disturbs_nobody(
    cabinet: RelinkCabinet, gateway: Gateway, clean_database: Database, look: Callable[[str], Any]
) -> None:
    cabinet.login()
    rng = Random(11)
    for _ in range(60):
        stranger = socket.create_connection(("127.0.0.1", port_of(gateway)), timeout=10)
        stranger.sendall(rng.randbytes(rng.randrange(1, 300)))
        stranger.close()
    cabinet.answer_inventory(BANKS)
    eventually(lambda: places(clean_database) == BANKS)
    eventually(lambda: look("SELECT count(*) FROM dead_letter") > 20)
    codes = look("SELECT array_agg(DISTINCT error_code) FROM dead_letter")
    assert codes == ["unknown_station"]
    cabinet.say(up.Heartbeat())
    assert cabinet.hear() == down.Ask(Command.HEARTBEAT)
