"""Devices that sign: what is genuine passes once, everything else is a dead letter and nothing more."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from device_gateway.guard import FORGED, REPLAYED, UNSIGNED, Guard, Keyring
from device_gateway.ingest import Alive
from device_gateway.received import Received
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import sealed
from firmware_protocol.signing import signing_key
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import credentials, signatures
from fleet.devices.credentials import IssuedSecret, secret_for
from fleet.devices.identity_models import CredentialState, DeviceCredential
from fleet.devices.models import DeadLetter
from fleet.devices.signatures import WINDOW, Window
from fleet.stations.models import Station
from tests.conftest import NOON
from tests.databases import Database
from tests.device_gateway.support import Bench, booted, insert
from tests.factories import add_station

VAULT = Vault(b"k" * 32)


@dataclass
class World:
    database: Database
    bench: Bench
    keyring: Keyring
    station_id: int
    issued: IssuedSecret
    counter: int = 0
    letters: list[str] = field(default_factory=list)

    def guard(self) -> Guard:
        """One gateway's."""
        return Guard(self.bench.ingest, self.database.engine, self.keyring, lambda: self.bench.now)

    def signed(self, received: Received, *, counter: int | None = None, boot: int = 1) -> Received:
        """As the cabinet sends it: every frame under the next counter."""
        if counter is None:
            self.counter += 1
            counter = self.counter
        return sign(received, self.issued, counter=counter, boot=boot)

    def codes(self) -> list[str]:
        with session_scope(self.database.engine) as session:
            return list(session.scalars(select(DeadLetter.error_code).order_by(DeadLetter.id)))


def sign(received: Received, issued: IssuedSecret, *, counter: int, boot: int = 1) -> Received:
    message = Published(topic=received.topic, payload=received.payload, qos=1, content_type=received.content_type)
    done = sealed.seal(message, key_id=issued.key_id, signing_key=signing_key(issued.secret), boot=boot, seq=counter)
    return received._replace(payload=done.payload)


@pytest.fixture
def world(clean_database: Database) -> World:
    with session_scope(clean_database.engine) as session:
        station_id = add_station(session, NOON, "S").id
        add_station(session, NOON, "PLAIN")
        issued = secret_for(session, VAULT, station_id=station_id, username="S", now=NOON, signs=True)
    return World(clean_database, Bench(clean_database.engine), Keyring(VAULT), station_id, issued)


def test_a_key_is_known_with_the_first_frame_that_it_signs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given out a moment after the keys were looked at: to one that signed nothing before, and in place of another."""
    monkeypatch.setattr("device_gateway.guard.monotonic", lambda: 1000.0)
    guard = world.guard()
    guard.process([booted("PLAIN", 1), world.signed(booted("S", 1))])
    with session_scope(world.database.engine) as session:
        plain = session.scalars(select(Station.id).where(Station.code == "PLAIN")).one()
        first = secret_for(session, VAULT, station_id=plain, username="PLAIN", now=NOON, signs=True)
        credentials.revoke_all(session, world.station_id, "replaced", NOON)
        second = secret_for(session, VAULT, station_id=world.station_id, username="S", now=NOON, signs=True)
    guard.process([sign(insert("PLAIN", 1), first, counter=1)])
    guard.process([sign(insert("S", 1), second, counter=1, boot=2)])
    assert sorted(world.bench.facts.order) == [("PLAIN", 1, 1), ("S", 1, 1)]
    assert world.codes() == []


def test_forgers_do_not_have_the_keys_read_without_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[tuple[int, ...]] = []

    def version(session: Session) -> tuple[int, ...]:
        looks.append(known(session))
        return looks[-1]

    known = signatures.version
    monkeypatch.setattr("fleet.devices.signatures.version", version)
    monkeypatch.setattr("device_gateway.guard.monotonic", lambda: 1000.0)
    guard = world.guard()
    for number in range(1, 51):
        forged = replace(world.issued, key_id=f"{number:016x}")
        guard.process([sign(insert("S", number), forged, counter=number)])
    assert world.codes() == [FORGED] * 50
    assert len(looks) == 1 + 20


def test_signed_frames_are_applied_and_plain_stations_are_left_alone(world: World) -> None:
    guard = world.guard()
    guard.process([booted("PLAIN", 1), world.signed(booted("S", 1))])
    guard.process([world.signed(insert("S", 1)), insert("PLAIN", 1), world.signed(insert("S", 2, slot=2))])
    assert sorted(world.bench.facts.order) == [("PLAIN", 1, 1), ("S", 1, 1), ("S", 1, 2)]
    assert world.codes() == []
    with session_scope(world.database.engine) as session:
        # Seen in use.
        assert session.scalars(select(DeviceCredential.confirmed_at)).one() == NOON


def test_a_replayed_frame_is_counted_dropped_and_kept(world: World) -> None:
    guard = world.guard()
    guard.process([world.signed(booted("S", 1))])
    first, second = world.signed(insert("S", 1)), world.signed(insert("S", 2))
    guard.process([second])
    guard.process([first])  # out of order is no replay
    done = guard.process([first, second, first])
    assert world.codes() == [REPLAYED] * 2  # the same bytes are one dead letter
    assert done.tally.dead[REPLAYED] == 3
    # By another gateway too: the counters are the database's.
    assert world.guard().process([first]).tally.dead[REPLAYED] == 1
    assert world.bench.facts.order == [("S", 1, 1), ("S", 1, 2)]


def test_forged_frames_change_nothing(world: World) -> None:
    guard = world.guard()
    good = world.signed(insert("S", 1))
    stranger = IssuedSecret("S", world.issued.key_id, b"x" * 32, signs=True)
    forged = [
        insert("S", 1),  # not signed at all
        sign(insert("S", 1), stranger, counter=7),
        good._replace(topic="vb/v1/S/up/boot"),  # moved to another topic
        good._replace(payload=good.payload.replace(b'"seq":1', b'"seq":9', 1)),  # another counter
        good._replace(payload=good.payload.replace(b"B1-1", b"B1-2")),  # another bank
        good._replace(payload=good.payload.replace(world.issued.key_id.encode(), b"0" * 16)),
        good._replace(payload=good.payload[:-5]),
        good._replace(payload=b"\xff\x00"),
    ]
    guard.process(forged)
    assert world.codes() == [UNSIGNED, FORGED, FORGED, FORGED, FORGED, FORGED, UNSIGNED, UNSIGNED]
    guard.process([good])
    assert len(world.codes()) == 8
    with session_scope(world.database.engine) as session:
        kept = session.scalars(select(DeadLetter).order_by(DeadLetter.id)).all()
        assert [bytes(letter.payload) for letter in kept] == [each.payload for each in forged]


def test_a_revoked_station_does_not_get_rid_of_signing(world: World) -> None:
    with session_scope(world.database.engine) as session:
        credentials.revoke_all(session, world.station_id, "stolen", NOON)
    world.guard().process([insert("S", 1), world.signed(insert("S", 2))])
    assert world.codes() == [UNSIGNED, FORGED]
    assert world.bench.facts.order == []


def test_a_batch_that_is_tried_again_is_no_replay(world: World) -> None:
    """The database goes away between the counters and the frames."""
    guard = world.guard()
    guard.process([world.signed(booted("S", 1))])
    batch = [world.signed(insert("S", 1)), insert("S", 1)]
    process, calls = world.bench.ingest.process, []

    def away_once(part: list[Received], alive: Alive) -> object:
        calls.append(len(part))
        if len(calls) == 1:
            raise OperationalError("", {}, Exception("away"))
        return process(part, alive)

    guard._inner.process = away_once  # type: ignore[assignment,method-assign]
    with pytest.raises(OperationalError):
        guard.process(batch)
    guard.process(batch)
    assert world.bench.facts.order == [("S", 1, 1)]
    assert world.codes() == [UNSIGNED]


def test_a_cabinet_that_lost_its_counters_is_heard_and_told(world: World) -> None:
    """Its `booted` is judged by its epoch, whatever the counter; its events are not, until it goes on above."""
    guard = world.guard()
    guard.process([world.signed(booted("S", 9, boot=5), boot=5)])
    guard.process([world.signed(insert("S", 1, boot=5), boot=5)])
    done = guard.process([world.signed(booted("S", 1, boot=1), counter=1)])
    assert len(done.outbound.messages) == 1  # where to go on
    guard.process([world.signed(insert("S", 1, boot=1), counter=2)])
    assert world.codes() == [REPLAYED]


def test_a_clock_ten_years_off_matters_to_no_signature(world: World) -> None:
    guard = world.guard()
    for years in (-10, 10):
        late = booted("S", 100 + years, at=NOON + timedelta(days=3650 * years // 10))
        assert len(guard.process([world.signed(late)]).outbound.messages) == 1
    assert world.codes() == []


def test_the_new_key_takes_over_when_it_signs(world: World) -> None:
    with session_scope(world.database.engine) as session:
        made = credentials.new_secret("S", signs=True)
        credentials.lock_station(session, world.station_id)
        credentials.add_secret(session, VAULT, made, station_id=world.station_id, state=CredentialState.NEXT, now=NOON)
    guard = world.guard()
    guard.process([world.signed(booted("S", 1))])
    assert world.keyring.seal(Published(topic="vb/v1/S/down/ack", payload=b"{}", qos=0), 5).payload.count(
        world.issued.key_id.encode()
    )
    guard.process([sign(insert("S", 1), made, counter=50)])
    with session_scope(world.database.engine) as session:
        rows = session.execute(select(DeviceCredential.key_id, DeviceCredential.state))
        states = {row[0]: row[1] for row in rows}
        assert states == {world.issued.key_id: CredentialState.REVOKED, made.key_id: CredentialState.CURRENT}
        assert session.scalar(select(func.count()).select_from(DeadLetter)) == 0


def test_what_is_said_to_a_cabinet_is_signed_for_its_topic(world: World) -> None:
    world.keyring.refresh(world.database.engine)
    message = Published(topic="vb/v1/S/down/command", payload=b'{"v":1}', qos=1, content_type="application/json")
    said = world.keyring.seal(message, 1_795_424_400_000)
    envelope = sealed.read(said.payload, said.content_type)
    key = signing_key(world.issued.secret)
    assert (envelope.boot, envelope.seq, envelope.body) == (0, 1_795_424_400_000, b'{"v":1}')
    assert envelope.is_genuine(message.topic, key)
    assert not envelope.is_genuine("vb/v1/S/down/ack", key)
    plain = Published(topic="vb/v1/PLAIN/down/command", payload=b"{}", qos=1)
    assert world.keyring.seal(plain, 1) is plain


def test_every_counter_is_good_once() -> None:
    window = Window()
    order = [3, 1, 2, 2, 1, 3, WINDOW + 2, 3, 2, 2**62, 2**62 - WINDOW + 1, 2**62 - WINDOW]
    assert [window.accept(7, seq) for seq in order] == [
        True, True, True, False, False, False, True, False, False, True, True, False,
    ]  # fmt: skip
    assert not window.accept(6, 2**63 - 1)
    assert window.accept(8, 1)
    assert window.seen.bit_length() <= WINDOW
