"""Random bytes on native and vendors' topics and the TCP port: declared errors, every frame kept once, nothing stuck,
memory flat.

A second of it by default; VOLTBAY_GARBAGE_S=60 for a minute (docs/vendor-cabinets.md).
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from random import Random
from time import monotonic
from typing import Final

import psutil
import pytest
from paho.mqtt.client import Client
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from device_gateway.business import fact_handler
from device_gateway.gateway import Gateway
from firmware_protocol import errors
from firmware_protocol.dialects.relink import codec as relink
from firmware_protocol.dialects.relink import up
from firmware_protocol.dialects.relink.codes import Generation
from firmware_protocol.dialects.relink.packet import close_packet
from firmware_protocol.dialects.volinks import codec, envelope, topics
from firmware_protocol.dialects.volinks.frames import Heartbeat
from firmware_protocol.dialects.volinks.topics import Kind
from firmware_protocol.topics import UpKind
from firmware_protocol.topics import up as native
from fleet.db import session_scope
from fleet.devices.models import DeadLetter, DeviceEvent
from fleet.settings import Settings
from fleet.stations.models import Station
from tests.databases import Database
from tests.device_gateway.cabinet import eventually
from tests.device_gateway.conftest import StartGateway
from tests.device_gateway.support import add_station
from tests.system.publishing import publisher

_LOG: Final = logging.getLogger(__name__)
IMEI: Final = "861111111111111"
STRANGER: Final = "862222222222222"
BOX: Final = "RL1H000000000777"
SECONDS: Final = float(os.environ.get("VOLTBAY_GARBAGE_S", "1"))
#: What a run of any length may add to the process beside what it had after its first second, in bytes.
MOST_GROWTH: Final = 60 * 1024 * 1024
#: The broker queues so many for a gateway at most; a flood that is faster than that waits for it (limits.conf).
MOST_AHEAD: Final = 20_000
#: Until all of it is stored, on a machine that does much else.
DRAINED_S: Final = 120.0
DECLARED: Final = {"unknown_station", "no_such_slot", "superseded_connection"} | {
    error.code for error in vars(errors).values() if isinstance(error, type) and issubclass(error, errors.ProtocolError)
}
COMMANDS: Final = (0x10, 0x21, 0x28, 0x31, 0x40, 0x7A, 0xCF, 0x18, 0x99)
NATIVE: Final = (UpKind.EVENT, UpKind.TELEMETRY, UpKind.STATE)


@dataclass
class Flood:
    """What was thrown, by the name it was thrown under."""

    rng: Random = field(default_factory=lambda: Random(5))
    thrown: dict[str, list[bytes]] = field(default_factory=dict)
    number: int = 0

    def frame(self) -> bytes:
        """Random bytes, or random data in a sound envelope: that goes deeper. No two are alike."""
        self.number += 1
        data = self.number.to_bytes(4, "big") + self.rng.randbytes(self.rng.randrange(1, 120))
        if self.rng.random() < 0.5:
            return data
        sound = bytearray(envelope.write(self.rng.choice(COMMANDS), data))
        sound[-1] ^= self.rng.choice((0, 0, 0x2A))
        return bytes(sound)

    def throw(self, client: Client, name: str, topic: str) -> None:
        payload = self.frame()
        client.publish(topic, payload, qos=1).wait_for_publish(30)
        self.thrown.setdefault(name, []).append(payload)

    def packet(self) -> bytes:
        """A sound Relink frame that says nothing sensible."""
        command = self.rng.choice((0x61, 0x64, 0x65, 0x66, 0x67, 0x80, 0x83, 0x99))
        return close_packet(command, 1, self.rng.randbytes(self.rng.randrange(0, 40)))


def noise_on(port: int, flood: Flood) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(flood.rng.randbytes(flood.rng.randrange(1, 200)))


def noise_after_login(port: int, flood: Flood) -> None:
    """Let in first: what follows is read in earnest, until bytes that are no frame cut the line."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.sendall(relink.encode_up(up.Login1(nonce=1, box_id=BOX), Generation.ONE))
        assert line.recv(4096), "not let in"
        line.sendall(b"".join(flood.packet() for _ in range(20)))
        line.sendall(b"\xff\xff" + flood.rng.randbytes(100))
        with suppress(ConnectionResetError):
            while line.recv(4096):  # questions for its inventory; then it is cut
                pass


@pytest.fixture
def gateway(start_gateway: StartGateway, clean_database: Database, group: str) -> Gateway:
    with session_scope(clean_database.engine) as session:
        for code, dialect, hardware_id in ((group, "volinks", IMEI), (f"{group}-r", "relink", BOX)):
            station = session.get_one(Station, add_station(clean_database.engine, code))
            station.dialect, station.hardware_id = dialect, hardware_id
    add_station(clean_database.engine, f"{group}-n")
    return start_gateway(handle=fact_handler(Settings()), relink_port=0)


@pytest.fixture
def cabinets(gateway: Gateway, device_mqtt_url: str, group: str) -> Iterator[dict[str, Client]]:
    with ExitStack() as stack:
        names = (IMEI, STRANGER, f"{group}-n", f"{group}-ghost")
        yield {name: stack.enter_context(publisher(device_mqtt_url, name)) for name in names}


def test_garbage_disturbs_nobody(
    gateway: Gateway, cabinets: dict[str, Client], clean_database: Database, group: str
) -> None:
    assert gateway.relink is not None
    flood, process = Flood(), psutil.Process()
    began, rounds, before = monotonic(), 0, 0
    while (elapsed := monotonic() - began) < SECONDS or rounds < 100:
        if not before and elapsed > min(1.0, SECONDS / 2):
            before = process.memory_info().rss
        for name in (IMEI, STRANGER):
            flood.throw(cabinets[name], name, topics.topic(name, flood.rng.choice((Kind.UPDATE, Kind.HEART))))
        for name in (f"{group}-n", f"{group}-ghost"):
            flood.throw(cabinets[name], name, native(name, flood.rng.choice(NATIVE)))
        if rounds % 5 == 0:
            noise_on(gateway.relink.port, flood)
        if rounds % 50 == 0:
            noise_after_login(gateway.relink.port, flood)
        rounds += 1
        if flood.number - _received(gateway) > MOST_AHEAD:
            eventually(lambda: flood.number - _received(gateway) < MOST_AHEAD // 2, DRAINED_S)
    drained_from = monotonic()
    cabinets[IMEI].publish(topics.topic(IMEI, Kind.HEART), codec.encode_up(Heartbeat(board=1, data=b"CSQ:20")), qos=1)
    eventually(lambda: _received(gateway) > flood.number, DRAINED_S)
    eventually(lambda: not _missing(clean_database, flood), DRAINED_S)
    growth = process.memory_info().rss - (before or process.memory_info().rss)
    # --log-cli-level=INFO shows it.
    _LOG.info(
        "%d frames in %.1f s, drained after %.1f s, %.0f MiB more",
        flood.number,
        drained_from - began,
        monotonic() - drained_from,
        growth / 2**20,
    )
    with Session(clean_database.engine) as session:
        codes = set(session.scalars(select(DeadLetter.error_code).distinct()))
        kept, different = session.execute(
            text("SELECT count(*), count(DISTINCT (station_code, error_code, payload)) FROM dead_letter")
        ).one()
        stations = session.scalar(text("SELECT count(*) FROM station"))
        online = session.scalar(text("SELECT online FROM station WHERE hardware_id = :imei"), {"imei": IMEI})
    assert codes <= DECLARED, codes - DECLARED
    assert {"checksum", "head", "unknown_station", "unknown_type", "malformed"} <= codes
    assert kept == different
    assert stations == 3, "a cabinet that nobody knows is made no station, at 0, 0 or anywhere else"
    assert online
    assert growth < MOST_GROWTH, growth


def _received(gateway: Gateway) -> float:
    lanes = ("events", "samples")
    return float(sum(gateway.metrics.received.labels(lane)._value.get() for lane in lanes))


def _missing(database: Database, flood: Flood) -> list[bytes]:
    """Frames that are neither a dead letter nor an event, nor a heartbeat, of which nothing is kept but its values."""
    with Session(database.engine) as session:
        kept = {bytes(each) for each in session.scalars(select(DeadLetter.payload))}
        kept |= {bytes(each) for each in session.scalars(select(DeviceEvent.raw))}
    return [
        frame
        for name, frames in flood.thrown.items()
        for frame in frames
        if frame not in kept and not (name == IMEI and _beats(frame))
    ]


def _beats(frame: bytes) -> bool:
    try:
        return isinstance(codec.decode_up(frame), Heartbeat)
    except errors.ProtocolError:
        return False
