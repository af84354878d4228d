"""Vendors' cabinets over a real broker, real TCP and real HTTP."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from firmware_protocol.dialects.relink import codec as relink_codec
from firmware_protocol.dialects.relink import down, up
from firmware_protocol.dialects.relink.codes import Generation
from firmware_protocol.dialects.relink.framing import Framer
from firmware_protocol.dialects.relink.packet import open_packet
from firmware_protocol.dialects.volinks import codec, commands, topics
from firmware_protocol.dialects.volinks.boards import Inventory
from firmware_protocol.dialects.volinks.frames import PopByHoleResult, UpFrame
from simulators.__main__ import parse
from simulators.errors import NotPossible
from simulators.faults import Fault, FaultKind
from simulators.spec import RELINK_SECRET, FleetSpec, Kind, default_fleet
from simulators.testing import FleetThread
from simulators.tuning import Tuning

WAIT_S = 20.0
#: Comes back when it is told to, not before.
PATIENT = Tuning(eject_ms=(0, 0), backoff_base_s=600, backoff_cap_s=600, self_check_ms=0)
QUICK = Tuning(eject_ms=(0, 0), reboot_ms=(100, 100), backoff_base_s=0.1, backoff_cap_s=0.2, self_check_ms=0)


class Backend:
    """Reads what Volinks cabinets publish, and commands them with any quality of service."""

    def __init__(self, mqtt_url: str) -> None:
        parts = urlsplit(mqtt_url)
        self.frames: list[UpFrame] = []
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        if parts.username:
            self.client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        self.client.on_connect = lambda client, *_: client.subscribe("/powerbank/+/user/update")
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        self.client.on_message = self._on_message
        self.client.connect(parts.hostname or "127.0.0.1", parts.port or 1883)
        self.client.loop_start()
        assert self._subscribed.wait(WAIT_S)

    def say(self, uuid: str, command: commands.DownCommand, qos: int = 0) -> None:
        payload = commands.encode_down(command)
        self.client.publish(topics.topic(uuid, topics.Kind.GET), payload, qos).wait_for_publish(WAIT_S)

    def wait_for(self, condition: Callable[[list[UpFrame]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self.frames), WAIT_S), self.frames

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self.frames.append(codec.decode_up(bytes(message.payload)))
            self._changed.notify_all()


@pytest.fixture
def backend(mqtt_url: str) -> Iterator[Backend]:
    backend = Backend(mqtt_url)
    yield backend
    backend.client.disconnect()
    backend.client.loop_stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def moves(fleet: FleetThread, code: str) -> int:
    return fleet.on(code, lambda driver: driver.cabinet.executor.moves)


@pytest.mark.parametrize("qos", [0, 1])
def test_a_redelivered_pop_costs_a_second_bank_and_only_qos_1_is_redelivered(
    backend: Backend, device_mqtt_url: str, qos: int
) -> None:
    # A seed of its own for each: the broker keeps what it has for a cabinet, by its name.
    spec = default_fleet(1, seed=70 + qos, kind=Kind.VOLINKS)
    (station,) = spec.stations
    first, second = station.banks[0], station.banks[1]
    with FleetThread(spec, device_mqtt_url, tuning=PATIENT) as fleet:
        fleet.wait_welcomed(WAIT_S)
        fleet.add_fault(station.code, Fault(kind=FaultKind.LOST_PUBACK, count=1))
        backend.say(station.identity, commands.PopByHole(hole=first.slot), qos)
        until(lambda: moves(fleet, station.code) == 1)
        # While it is away, another bank comes into that hole.
        fleet.disconnect(station.code)
        fleet.remove(station.code, second.slot)
        fleet.insert(station.code, second.serial, slot=first.slot)
        fleet.connect(station.code)
        fleet.wait_welcomed(WAIT_S)
        backend.say(station.identity, commands.Plain(commands.Word.CHECK))
        backend.wait_for(lambda frames: any(isinstance(frame, Inventory) for frame in frames))
        assert moves(fleet, station.code) == 1 + qos
        repeats = [frame.state for frame in backend.frames if isinstance(frame, PopByHoleResult)]
        assert repeats == [1] * qos
        out = {first.serial, second.serial} if qos else {first.serial}
        assert set(fleet.banks_out()) == out


class Shop(BaseHTTPRequestHandler):
    """The least that a cabinet's HTTP calls need."""

    broker: tuple[str, int]
    calls: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        type(self).calls.append((self.path, body))
        data = ""
        if "client/connect" in self.path:
            uuid = self.path.split("uuid=")[1].split("&")[0]
            host, port = type(self).broker
            data = f"c-{uuid},powerbank,{host},{port},{uuid},,{int(time.time() * 1000)}"
        answer = json.dumps({"code": 200, "type": 0, "data": data, "msg": "ok", "time": 0}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def test_http_names_the_broker_and_takes_the_inventory(backend: Backend, device_mqtt_url: str) -> None:
    parts = urlsplit(device_mqtt_url)
    Shop.broker, Shop.calls = (parts.hostname or "", parts.port or 1883), []
    spec = default_fleet(1, seed=72, kind=Kind.VOLINKS_OLD)
    (station,) = spec.stations
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        # The broker of the fleet is nowhere: the cabinet goes where the answer says.
        with FleetThread(spec, "mqtt://127.0.0.1:1", tuning=QUICK, http_url=url) as fleet:
            fleet.wait_welcomed(WAIT_S)
            backend.say(station.identity, commands.Plain(commands.Word.UPLOAD_ALL))
            until(lambda: len(Shop.calls) == 2)
        server.shutdown()
    path, body = Shop.calls[1]
    assert path.startswith(f"/api/rentbox/client/upload?rentboxSN={station.identity}&")
    frame = codec.decode_up(body)
    assert isinstance(frame, Inventory)
    assert {str(hole.sn) for hole in frame.holes if hole.occupied} == {bank.serial for bank in station.banks}


@contextmanager
def relink_server() -> Iterator[tuple[tuple[str, int], Callable[[], socket.socket]]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(WAIT_S)

        def accept() -> socket.socket:
            connection = listening.accept()[0]
            connection.settimeout(WAIT_S)
            return connection

        host, port = listening.getsockname()
        yield (host, port), accept


class Peer:
    """The backend's end of one connection."""

    def __init__(self, connection: socket.socket, generation: Generation) -> None:
        self._connection = connection
        self._framer = Framer()
        self._generation = generation
        self._secret = RELINK_SECRET.encode() if generation is Generation.TWO else None

    def read(self) -> up.UpMessage:
        while (raw := self._framer.take()) is None:
            data = self._connection.recv(4096)
            assert data
            self._framer.feed(data)
        return relink_codec.decode_up(open_packet(raw, secret=self._secret), self._generation)

    def say(self, message: down.DownMessage) -> None:
        self._connection.sendall(relink_codec.encode_down(message, self._generation, self._secret))


@pytest.mark.parametrize("kind", [Kind.RELINK, Kind.RELINK_1])
def test_a_rental_over_tcp(kind: Kind, device_mqtt_url: str) -> None:
    spec = default_fleet(1, kind=kind)
    (station,) = spec.stations
    generation = Generation(int(station.flavour))
    with (
        relink_server() as (address, accept),
        FleetThread(spec, device_mqtt_url, tuning=QUICK, relink=address) as fleet,
    ):
        with accept() as connection:
            peer = Peer(connection, generation)
            login = peer.read()
            assert isinstance(login, up.Login1 | up.Login2)
            assert login.box_id == station.identity
            refused = down.LoginReply2(result=0, nonce=0, timestamp=0)
            peer.say(refused if generation is Generation.TWO else down.LoginReply1(0))
        with accept() as connection:
            peer = Peer(connection, generation)
            peer.read()
            accepted = down.LoginReply2(result=1, nonce=0, timestamp=1)
            peer.say(accepted if generation is Generation.TWO else down.LoginReply1(1))
            fleet.wait_welcomed(WAIT_S)
            bank = station.banks[0]
            peer.say(down.Borrow(bank.slot))
            given = peer.read()
            assert isinstance(given, up.BorrowResult)
            assert (given.result, given.bank) == (1, bank.serial)
            fleet.insert(station.code, bank.serial)
            assert isinstance(peer.read(), up.Return1 | up.Return2)


def test_the_control_api_makes_cabinets_of_any_kind(backend: Backend, device_mqtt_url: str) -> None:
    (station,) = default_fleet(1, seed=73, kind=Kind.VOLINKS).stations
    body = msgspec.json.encode(station)
    with FleetThread(default_fleet(1, seed=73), device_mqtt_url, tuning=QUICK) as fleet:
        made = httpx.post(f"{fleet.control_url}/stations", content=body)
        assert made.status_code == 201
        assert (made.json()["dialect"], made.json()["hardware_id"]) == ("volinks", station.identity)
        until(lambda: fleet.station(station.code).connection == "welcomed")
        backend.say(station.identity, commands.PopBySerial(sn=int(station.banks[0].serial)))
        until(lambda: fleet.banks_out() == [station.banks[0].serial])
        shown = httpx.get(f"{fleet.control_url}/stations").json()
        assert [each["dialect"] for each in shown] == ["native", "volinks"]
        assert httpx.post(f"{fleet.control_url}/stations", content=body).status_code == 409
        relink = msgspec.json.encode(default_fleet(1, kind=Kind.RELINK).stations[0])
        refused = httpx.post(f"{fleet.control_url}/stations", content=relink)
        assert (refused.status_code, refused.json()["title"]) == (409, "NotPossible")


def test_a_relink_cabinet_needs_a_server(device_mqtt_url: str) -> None:
    with (
        pytest.raises(NotPossible, match="was not told of a Relink server"),
        FleetThread(default_fleet(1, kind=Kind.RELINK), device_mqtt_url),
    ):
        pass


def test_the_command_line_makes_them() -> None:
    options = parse(["--kind", "volinks-old", "--http-url", "http://127.0.0.1:8000", "--relink", "127.0.0.1:9066"])
    assert {station.dialect for station in options.fleet().stations} == {"volinks"}
    assert (options.http_url, options.relink_address()) == ("http://127.0.0.1:8000", ("127.0.0.1", 9066))
    with pytest.raises(ValueError, match="expected host:port"):
        parse(["--relink", "somewhere"]).relink_address()


@pytest.mark.parametrize("kind", Kind)
def test_fleets_of_every_kind_survive_their_file(kind: Kind) -> None:
    spec = default_fleet(3, kind=kind)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=FleetSpec) == spec
    assert default_fleet(2, kind=kind).stations == spec.stations[:2]
    with pytest.raises(ValueError, match="has no variant"):
        msgspec.structs.replace(spec.stations[0], variant="x")
    with pytest.raises(ValueError, match="the boards have 9 holes"):
        msgspec.structs.replace(spec.stations[0], layout=(4, 5))
