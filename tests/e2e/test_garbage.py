"""Garbage on every topic, from known and unknown stations, while people rent.

So many rounds by default; VOLTBAY_GARBAGE_S=60 goes on for a minute.
"""

import json
import os
from collections.abc import Iterator
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import Any

import paho.mqtt.client as mqtt

from device_gateway.applying import NO_SUCH_SLOT
from device_gateway.ingest import UNKNOWN_STATION
from firmware_protocol import errors
from firmware_protocol.limits import MAX_FRAME_BYTES
from firmware_protocol.topics import UpKind, up
from tests.system.clients import Rider
from tests.system.publishing import publisher
from tests.system.system import System
from tests.system.waiting import until

_ROUNDS = 250
_SECONDS = float(os.environ.get("VOLTBAY_GARBAGE_S", "0"))
#: The allocator's own habits; a leak of garbage would be many times this.
_GROWTH_BYTES = 24 * 2**20
#: Thousands of frames, each a dead letter of its own, on a machine that does much else.
_DRAINED_S = 120.0
_DECLARED = {UNKNOWN_STATION, NO_SUCH_SLOT} | {
    error.code for error in vars(errors).values() if isinstance(error, type) and issubclass(error, errors.ProtocolError)
}
_ENVELOPE: dict[str, Any] = {"v": 1, "boot": 1, "seq": 1, "at": None, "type": "slot_locked", "data": {"slot": 1}}
#: An envelope with one thing wrong; each must be refused.
_WRONG: tuple[dict[str, Any], ...] = (
    {"v": 99},
    {"v": "1"},
    {"boot": -1},
    {"boot": 2**63},
    {"seq": 1.5},
    {"seq": None},
    {"at": "yesterday"},
    {"at": 10**18},
    {"type": "explode"},
    {"type": ["slot_locked"]},
    {"type": "power_bank_inserted", "data": {"slot": -4}},
    {"type": "power_bank_inserted", "data": {"slot": 1, "serial": "x" * 65}},
    {"type": "inventory", "data": {"slots": [{"slot": 1, "state": "empty"}] * 2}},
    {"type": "inventory", "data": {"slots": "all"}},
    {"type": "command_result", "data": {"command_id": "", "outcome": "maybe"}},
    {"data": [1, 2, 3]},
    {"data": {"slot": {"slot": {"slot": {"slot": {"slot": {"slot": {"slot": {"slot": 1}}}}}}}}},
)


def _garbage(rng: Random) -> Iterator[bytes]:
    """Without end."""
    while True:
        yield rng.randbytes(rng.randint(0, 300))
        yield b"{" + rng.randbytes(rng.randint(0, 100))
        yield b"\xbf" * rng.randint(1, 50)
        yield b"[" * rng.randint(1, 2000)
        yield json.dumps(_ENVELOPE | rng.choice(_WRONG)).encode()
        yield json.dumps(_ENVELOPE | {"pad" + str(rng.random()): rng.random()}).encode()[: rng.randint(0, 60)]


def _throw(
    client: mqtt.Client, topics: list[str], rng: Random, rounds: int, seconds: float = 0
) -> list[tuple[str, bytes]]:
    """On every topic, `rounds` times and at least so long; what was thrown."""
    thrown = []
    supply = _garbage(rng)
    until_s, done = monotonic() + seconds, 0
    while done < rounds or monotonic() < until_s:
        done += 1
        for topic in topics:
            payload = next(supply)
            told = client.publish(topic, payload, qos=1)
            thrown.append((topic, payload))
        if seconds and done % 50 == 0:
            told.wait_for_publish(30)  # what a broker has not taken yet would only fill this process
    huge = rng.randbytes(MAX_FRAME_BYTES + 1)
    client.publish(topics[0], huge, qos=1).wait_for_publish(30)
    thrown.append((topics[0], huge))
    return thrown


def test_garbage_on_every_topic_while_people_rent(system: System, station: str, other: str, rider: Rider) -> None:
    rng = Random(20261123)
    broker = system.stack.device_mqtt_url
    names = [station, other, "GHOST-1", "GHOST.2"]
    topics = {name: [up(name, kind) for kind in UpKind] for name in names}
    dead = system.scalar("SELECT coalesce(max(id), 0) FROM dead_letter")
    for name in names:  # so that what is measured below is garbage and not a first use
        with publisher(broker, name) as client:
            _throw(client, topics[name], rng, 5)
    system.settle()
    before = {name: system.processes[name].rss_bytes() for name in system.gateways}

    ended = Event()
    renting = Thread(target=_rent_until, args=(system, rider, station, other, ended), daemon=True)
    renting.start()
    thrown = []
    for name in names:
        with publisher(broker, name) as client:
            thrown += _throw(client, topics[name], rng, _ROUNDS, _SECONDS / len(names))
            _trespass(client, names)
    ended.set()
    renting.join(60)
    assert not renting.is_alive()
    system.settle()

    _check_dead_letters(system, dead, thrown)
    assert all(rental["state"] == "completed" for rental in rider.rentals())
    assert rider.rentals()
    for name, rss in before.items():
        assert system.processes[name].rss_bytes() < rss + _GROWTH_BYTES, name
        assert "Traceback" not in system.processes[name].said()


def _rent_until(system: System, rider: Rider, station: str, other: str, ended: Event) -> None:
    while not ended.is_set():
        if rider.wallet()["balance"]["amount_minor"] < 1500:
            rider.top_up(5000)
        rental = rider.wait_state(rider.start(station)["id"], "active")
        system.cabinets.fleet.insert(other, rental["power_bank"])
        rider.wait_state(rental["id"], "completed")
        station, other = other, station


def _trespass(client: mqtt.Client, names: list[str]) -> None:
    """Where only the backend may write, and where no backend listens: the broker lets none of it through."""
    for name in names:
        for topic in (f"vb/v1/{name}/down/command", f"vb/v1/{name}/up/event/deeper", f"vb/v2/{name}/up/event"):
            client.publish(topic, b"trespass", qos=1)
    victim = names[0] if client._username != names[0].encode() else names[1]
    frame = json.dumps(_ENVELOPE | {"boot": 2**62, "type": "trespass"}).encode()
    client.publish(up(victim, UpKind.EVENT), frame, qos=1).wait_for_publish(30)


def _check_dead_letters(system: System, after: int, thrown: list[tuple[str, bytes]]) -> None:
    until(
        lambda: not _nowhere(system, after, thrown),
        lambda: f"every frame is somewhere; of {len(thrown)} these are not: {_nowhere(system, after, thrown)[:3]}",
        _DRAINED_S,
    )
    rows = _dead_letters(system, after)
    assert {row.error_code for row in rows} <= _DECLARED, {row.error_code for row in rows} - _DECLARED
    assert not any(b"trespass" in bytes(row.payload) for row in rows)


def _nowhere(system: System, after: int, thrown: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Frames that are neither a dead letter nor an event: lost, or still on their way through the broker."""
    kept = {(row.topic.split("/")[2], bytes(row.payload)) for row in _dead_letters(system, after)}
    readable = {bytes(row[0]) for row in system.rows("SELECT raw FROM device_event")}
    return [(topic, payload) for topic, payload in thrown
            if (topic.split("/")[2], payload) not in kept and payload not in readable]  # fmt: skip


def _dead_letters(system: System, after: int) -> list[Any]:
    return system.rows("SELECT topic, payload, error_code FROM dead_letter WHERE id > :after", after=after)
