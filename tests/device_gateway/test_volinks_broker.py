"""A Volinks cabinet over a real broker: its own topics, MQTT 3.1.1, QoS 0, two gateways."""

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy.orm import Session

from firmware_protocol.commands import EjectPowerBank
from firmware_protocol.dialects.volinks import codec, commands, topics
from firmware_protocol.dialects.volinks.boards import Board, Hole, Inventory
from firmware_protocol.dialects.volinks.frames import Heartbeat, PopBySerialResult, UpFrame
from firmware_protocol.dialects.volinks.topics import Kind
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices import commands as orders
from fleet.devices.models import CommandState, DeadLetter, DeviceCommand
from fleet.stations.models import Station
from tests.databases import Database
from tests.device_gateway.cabinet import eventually
from tests.device_gateway.conftest import StartGateway
from tests.device_gateway.support import Facts, add_station

INVENTORY = Inventory(
    boards=(Board(address=1, holes=tuple(Hole(hole=n, state=1, sn=10001000 + n, soc_raw=80) for n in range(1, 5))),)
)


class VolinksCabinet:
    def __init__(self, imei: str, url: str) -> None:
        self.imei = imei
        self.told: list[commands.DownCommand] = []
        self.echoes: list[bytes] = []
        parts = urlsplit(url)
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=imei)
        self._client.username_pw_set(imei)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(topics.topic(imei, Kind.GET), 0), (topics.topic(imei, Kind.HEART), 0)]
        )
        self._ready: list[object] = []
        self._client.on_subscribe = lambda *_: self._ready.append(None)
        self._client.connect(parts.hostname or "", parts.port or 1883)
        self._client.loop_start()
        eventually(lambda: self._ready)

    def say(self, frame: UpFrame | bytes, kind: Kind = Kind.UPDATE) -> None:
        payload = frame if isinstance(frame, bytes) else codec.encode_up(frame)
        self._client.publish(topics.topic(self.imei, kind), payload, qos=0).wait_for_publish(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        del client, userdata
        if message.topic.endswith("/heart"):
            self.echoes.append(bytes(message.payload))
        else:
            assert (message.qos, message.retain) == (0, False)
            self.told.append(commands.decode_down(bytes(message.payload)))


@pytest.fixture
def imei() -> str:
    return f"86{uuid4().int % 10**13:013d}"


@pytest.fixture
def station_id(clean_database: Database, group: str, imei: str) -> int:
    station_id = add_station(clean_database.engine, group)
    with session_scope(clean_database.engine) as session:
        station = session.get_one(Station, station_id)
        station.dialect, station.hardware_id = "volinks", imei
    return station_id


@pytest.fixture
def cabinet(imei: str, device_mqtt_url: str) -> Iterator[VolinksCabinet]:
    cabinet = VolinksCabinet(imei, device_mqtt_url)
    yield cabinet
    cabinet.close()


def test_a_cabinet_is_heard_asked_and_told(
    start_gateway: StartGateway,
    cabinet: VolinksCabinet,
    station_id: int,
    clean_database: Database,
    facts: Facts,
) -> None:
    start_gateway()
    start_gateway("two")
    beat = Heartbeat(board=0x10, data=b"CSQ:27;BP:2")
    cabinet.say(beat, Kind.HEART)
    eventually(lambda: cabinet.told == [commands.Plain(commands.Word.CHECK)])
    cabinet.say(INVENTORY)
    eventually(lambda: facts.seen)
    now = utc_now()
    with session_scope(clean_database.engine) as session:
        row = orders.queue_command(
            session,
            station_id=station_id,
            command=EjectPowerBank(slot=2, serial="10001002"),
            deadline=now + timedelta(seconds=15),
            now=now,
        )
        command_id = row.id
    eventually(lambda: isinstance(cabinet.told[-1], commands.PopBySerial))
    # The gateways have no handler here that would settle it: it is in flight, and goes out once.
    cabinet.say(PopBySerialResult(byte4=2, sn=10001002, state=1))
    eventually(lambda: any(fact.message.__class__.__name__ == "CommandResult" for fact in facts.seen[2:]))
    with Session(clean_database.engine) as session:
        assert session.get_one(DeviceCommand, command_id).state is CommandState.SENT
        assert session.get_one(Station, station_id).online
    assert sum(isinstance(each, commands.PopBySerial) for each in cabinet.told) == 1
    # Its own heartbeat came back from the broker, once: no gateway echoes it.
    assert cabinet.echoes == [codec.encode_up(beat)]


def test_strangers_and_garbage_are_kept_and_answered_by_nobody(
    start_gateway: StartGateway, device_mqtt_url: str, cabinet: VolinksCabinet, station_id: int,
    clean_database: Database,
) -> None:  # fmt: skip
    start_gateway()
    stranger = VolinksCabinet("999999999999999", device_mqtt_url)
    stranger.say(INVENTORY)
    cabinet.say(b"\xa8\x00\x00")

    def kept() -> bool:
        with Session(clean_database.engine) as session:
            codes = {each.error_code for each in session.query(DeadLetter)}
        return codes == {"unknown_station", "truncated"}

    eventually(kept)
    assert stranger.told == []
    stranger.close()
