"""Random bytes on vendors' topics and the TCP port: declared errors, every frame kept, nothing stuck, memory flat.

A second of it by default; VOLTBAY_GARBAGE_S=60 for a minute (docs/vendor-cabinets.md).
"""

import os
import socket
from random import Random
from time import monotonic

import psutil
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from device_gateway.business import fact_handler
from firmware_protocol.dialects.volinks.codec import envelope
from firmware_protocol.dialects.volinks.frames import Heartbeat
from firmware_protocol.dialects.volinks.topics import Kind
from fleet.db import session_scope
from fleet.devices.models import DeadLetter
from fleet.settings import Settings
from fleet.stations.models import Station
from tests.databases import Database
from tests.device_gateway.cabinet import eventually
from tests.device_gateway.conftest import StartGateway
from tests.device_gateway.support import add_station
from tests.device_gateway.test_volinks_broker import VolinksCabinet

IMEI = "861111111111111"
SECONDS = float(os.environ.get("VOLTBAY_GARBAGE_S", "1"))
#: What a run of any length may add to the process beside what it had after its first second, in bytes.
MOST_GROWTH = 60 * 1024 * 1024
DECLARED = {
    "unknown_station", "truncated", "head", "length", "checksum", "too_large", "unknown_type", "layout",
    "layout_changed", "invalid_field",
}  # fmt: skip
COMMANDS = (0x10, 0x21, 0x28, 0x31, 0x40, 0x7A, 0xCF, 0x18, 0x99)


def frame(rng: Random) -> bytes:
    """Random bytes, or random data in a sound envelope: that goes deeper."""
    data = rng.randbytes(rng.randrange(1, 120))
    return data if rng.random() < 0.5 else envelope(rng.choice(COMMANDS), data)


def test_garbage_disturbs_nobody(
    start_gateway: StartGateway, device_mqtt_url: str, clean_database: Database, group: str
) -> None:
    gateway = start_gateway(handle=fact_handler(Settings()), relink_port=0)
    assert gateway.relink is not None
    with session_scope(clean_database.engine) as session:
        station = session.get_one(Station, add_station(clean_database.engine, group))
        station.dialect, station.hardware_id = "volinks", IMEI
    cabinet, stranger = VolinksCabinet(IMEI, device_mqtt_url), VolinksCabinet("862222222222222", device_mqtt_url)
    rng, process = Random(5), psutil.Process()
    began, sent, before = monotonic(), 0, 0
    while (elapsed := monotonic() - began) < SECONDS or sent < 200:
        if not before and elapsed > min(1.0, SECONDS / 2):
            before = process.memory_info().rss
        cabinet.say(frame(rng), rng.choice((Kind.UPDATE, Kind.HEART)))
        stranger.say(frame(rng))
        if sent % 5 == 0:
            with socket.create_connection(("127.0.0.1", gateway.relink.port), timeout=10) as line:
                line.sendall(rng.randbytes(rng.randrange(1, 200)))
        sent += 1
    cabinet.say(Heartbeat(board=1, data=b"CSQ:20;BP:2"), Kind.HEART)
    eventually(lambda: _is_quiet(gateway.metrics.received.labels("events")._value.get(), sent), 60)
    growth = process.memory_info().rss - (before or process.memory_info().rss)
    with Session(clean_database.engine) as session:
        codes = set(session.scalars(select(DeadLetter.error_code).distinct()))
        online = session.scalar(text("SELECT online FROM station"))
    cabinet.close()
    stranger.close()
    assert codes <= DECLARED, codes - DECLARED
    assert {"checksum", "head", "unknown_station"} & codes
    assert online
    assert growth < MOST_GROWTH, growth


def _is_quiet(received: float, sent: int) -> bool:
    """All that was published has been taken."""
    return received >= 2 * sent + 1
