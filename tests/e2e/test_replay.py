"""Frames delivered twice and in any order leave the database as they left it when they came once and in order.

A gateway and simulated cabinets live through many things while every frame is recorded. The database as it was before
is then copied, and the frames are played into each copy through the gateway's own pipeline.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine, text

from device_gateway.business import fact_handler
from device_gateway.directory import Directory
from device_gateway.event_ingest import EventIngest
from device_gateway.gaps import Gaps
from device_gateway.received import Received
from device_gateway.sample_ingest import SampleIngest
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.topics import UpKind
from fleet.common import fixtures
from fleet.common.clock import utc_now
from fleet.common.money import Money
from fleet.config.service import load_config
from fleet.db import create_engine_from, session_scope
from fleet.payments.wallets import adjust
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts.service import start
from fleet.settings import Settings
from fleet.stations.service import add_power_banks, create_station
from fleet.stations.specs import StationSpec
from fleet.users.destinations import parse
from fleet.users.service import user_at
from simulators.faults import FaultKind
from simulators.spec import FleetSpec, fleet_of
from tests.databases import DatabaseServer
from tests.system.cabinets import Cabinets
from tests.system.processes import ManagedProcess
from tests.system.recording import recorder
from tests.system.tables import contents, differences, view
from tests.system.waiting import until
from tests.system.whole import tariff

_CODES = ["RP-1", "RP-2", "RP-3", "RP-4", "RP-5"]
_A, _B, _C, _D, _E = _CODES
_SEEDS = range(5)
#: Samples are compared with each other by time alone where a bank has moved: they must lie further apart than what a
#: message takes through the broker of a machine that has other things to do.
_TELEMETRY_S = 3
#: The orders are given before the gateway starts, which takes a while on such a machine.
_EJECT_DEADLINE_S = 300
_PATIENCE_S = 120

#: Left out altogether: device_session, station_status_history and the presence columns of station (a session that is
#: heard of only after the next one is never opened), gateway_instance (processes), the inventories that each opened
#: session asks for (their ids are random), idempotency keys and accounts of users (no frame touches them),
#: rental_event (it tells in which order things became known; what follows from them is in rental and the ledger).
#: Left out of a table: surrogate ids; when a row was written (`closed_at` too: when the end became known); of an event
#: that came live and again from the journal, the copy that was first (`raw`, `replayed`, `received_at`); what a later
#: start of a cabinet declares to be lost or the last of an earlier one (`lost`, `last_seq`), which is true of what the
#: live gateway had acknowledged by then, and changes nothing of what does come; of a movement its rental (an arrival
#: may be told before the departure that explains it, and movements are never changed), and which of an eject's two
#: events, or an inventory, told of it first (`seq`, `kind`, `at`, `charge_pct`); what samples of a serial say
#: that nobody had heard of yet; cases (and the word of them) of banks that were back before they were known to be gone;
#: events about presence.
_MEASURED = ("charge_pct", "cycles", "health_pct", "temperature_c")
_VIEWS = (
    view("station_slot"),
    view("power_bank", "id", "created_at", "updated_at", only="known"),
    view("power_bank", "id", "created_at", "updated_at", *_MEASURED, "charge_at", "sampled_at", only="NOT known"),
    view("power_bank_movement", "id", "rental_id", "seq", "charge_pct", only="kind NOT IN ('ejected', 'vanished')"),
    view(
        "power_bank_movement",
        "id",
        "rental_id",
        "seq",
        "charge_pct",
        "kind",
        "at",
        only="kind IN ('ejected', 'vanished')",
    ),
    view("rental", "closed_at"),
    view("orphan_bank_case", "id", only="state = 'open'"),
    view("ledger_account"),
    view("ledger_transfer", "id", "created_at", "settled_at"),
    view("device_event", "raw", "replayed", "received_at", "applied_at", "encoding"),
    view("device_stream", "clock_offset_ms", "gap_since", "resend_asked_at", "closed_at", "lost", "last_seq"),
    view("device_command", "claimed_by", "settled_at", only="kind = 'eject_power_bank'"),
    view("device_sample", "received_at"),
    view("slot_telemetry", "power_bank_id"),
    view("station_telemetry"),
    view(
        "outbox_event",
        "id",
        "created_at",
        only="name NOT LIKE 'rentals.OrphanCase%' AND name NOT LIKE 'devices.Station%'",
    ),
    view("dead_letter", "id"),
)


@dataclass(frozen=True, slots=True)
class Recording:
    """`before`: the database when the first frame came; `after`: what the live gateway made of them."""

    frames: Sequence[Received]
    before: str
    after: str
    settings: Settings
    #: How far the same instant may lie apart: what a cabinet's clock is off is learnt from its messages, and which of
    #: them is heard first is what is shuffled. It is the longest time that one took through the broker, and a little.
    tolerance: timedelta


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine_from(url, name="voltbay-test")
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture(scope="module")
def recording(
    database_server: DatabaseServer, mqtt_url: str, device_mqtt_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recording]:
    url = database_server.create()
    spec = fleet_of(_CODES, seed=5)
    folder = tmp_path_factory.mktemp("replay")
    environment = {
        "DATABASE_URL": url,
        "MQTT_URL": mqtt_url,
        "VOLTBAY_HOME": str(folder),
        "VOLTBAY_TELEMETRY_S": f"{_TELEMETRY_S}",
    }
    environment["VOLTBAY_EJECT_DEADLINE_S"] = f"{_EJECT_DEADLINE_S}"
    environment["VOLTBAY_DEADBAND_KEEP_S"] = "0"  # which samples are worth a row depends on their order
    gateway = ManagedProcess("gateway", [sys.executable, "-m", "device_gateway"], environment, folder / "gateway.log")
    settings = Settings(database_url=url, mqtt_url=mqtt_url, home=folder, eject_deadline_s=_EJECT_DEADLINE_S)
    with _engine(url) as engine:
        _prepare(engine, spec)
    cabinets = Cabinets(spec, device_mqtt_url)
    gateway.start()
    with cabinets.fleet:
        cabinets.fleet.wait_welcomed(_PATIENCE_S)
        with _engine(url) as engine:
            _settle(engine, cabinets)
            assert gateway.stop() == 0
            _start_rentals(engine, settings)
        before = database_server.copy(url)
        _note_sent(before)
        with recorder(mqtt_url) as frames, _engine(url) as engine:
            gateway.start()
            _live(engine, cabinets)
            _settle(engine, cabinets)
        assert gateway.stop() == 0
    yield Recording(tuple(frames), before, url, settings, _longest_way(frames) + timedelta(seconds=0.1))
    for each in (before, url):
        database_server.drop(each)


def _longest_way(frames: Sequence[Received]) -> timedelta:
    """Of what cabinets said live. The simulators' clocks are this machine's; what is retained or repeated is older."""
    told = [(each.at, NATIVE.decode(each.topic, each.payload)) for each in frames]
    live = [(at, frame.at_ms) for at, frame in told if frame.seq and not frame.replayed]
    return timedelta(seconds=max(at - at_ms / 1000 for at, at_ms in live if at_ms is not None))


def _prepare(engine: Engine, spec: FleetSpec) -> None:
    now = utc_now()
    data = fixtures.read(Path(__file__).parents[2] / "fixtures" / "initial_data.json")
    with session_scope(engine) as session:
        fixtures.load_countries(session, data["countries"])
        load_config(session, data["config"], now)
        session.add(tariff())
        for each in spec.stations:
            create_station(
                session, StationSpec(each.code, each.name, each.lat, each.lon, each.slots, country="PT"), now
            )
        add_power_banks(session, [bank.serial for each in spec.stations for bank in each.banks], now)


def _start_rentals(engine: Engine, settings: Settings) -> None:
    """Five riders; the gateway that would send their commands is away."""
    policy = RentalPolicy.from_settings(settings)
    for number, code in enumerate(_CODES):
        now = utc_now()
        with session_scope(engine) as session:
            user, _ = user_at(session, parse(f"rider-{number}@example.com"), now)
            session.flush()
            adjust(
                session, user_id=user.id, money=Money(2000, "EUR"), reason="test", actor_id=user.id, key="1", now=now
            )
            start(session, user_id=user.id, station_code=code, slot=None, now=now, policy=policy, request_id=None)


def _note_sent(url: str) -> None:
    """In the copy nobody sends commands any more; they count as sent just before the first frame comes."""
    with _engine(url) as engine, session_scope(engine) as session:
        session.execute(
            text("UPDATE device_command SET state = 'sent', sent_at = now(), attempt = 1 WHERE state = 'queued'")
        )


def _live(engine: Engine, cabinets: Cabinets) -> None:
    """Ejects as ordered, of another bank, and not taken; returns to other, offline and restarting cabinets; banks that
    come from nowhere and that leave by force.
    """
    cabinets.fault(_B, FaultKind.WRONG_BANK)
    cabinets.fault(_C, FaultKind.NOT_TAKEN, delay_s=0.5)
    until(lambda: len(cabinets.in_hands()) >= 4, "four riders have a bank", _PATIENCE_S)
    until(lambda: not _count(engine, "rental", "state = 'ejecting'"), "no eject is under way", _PATIENCE_S)
    out = {code: serial for serial, code in _active(engine)}
    cabinets.fleet.insert(_C, out[_A])
    cabinets.fleet.disconnect(_A)
    cabinets.fleet.insert(_A, out[_B])
    cabinets.fleet.reboot(_D)
    cabinets.fleet.insert(_D, out[_D])
    cabinets.fleet.insert(_A, out[_E])
    cabinets.fleet.insert(_B, "XX-1", foreign=True)
    slot, taken = next(iter(cabinets.banks(_C).items()))
    cabinets.remove(_C, slot)
    cabinets.fleet.connect(_A)
    cabinets.fleet.wait_welcomed(_PATIENCE_S)
    cabinets.fleet.insert(_B, taken)
    _settle(engine, cabinets)


def _active(engine: Engine) -> list[tuple[str, str]]:
    query = (
        "SELECT b.serial, s.code FROM rental r JOIN power_bank b ON b.id = r.power_bank_id"
        " JOIN station s ON s.id = r.station_out_id WHERE r.state = 'active' ORDER BY b.serial"
    )
    with engine.connect() as connection:
        return [(row[0], row[1]) for row in connection.execute(text(query))]


def _count(engine: Engine, table: str, condition: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table} WHERE {condition}")).scalar_one())


def _settle(engine: Engine, cabinets: Cabinets) -> None:
    """Everything said is applied, everything asked is answered."""
    until(
        lambda: (
            cabinets.quiet()
            and not _count(engine, "device_event", "applied_at IS NULL")
            and not _count(engine, "device_command", "state IN ('queued', 'sent', 'unknown')")
        ),
        "quiet",
        _PATIENCE_S,
    )


def _play(frames: Sequence[Received], engine: Engine, settings: Settings, rng: Random | None) -> None:
    """Through the pipeline in batches; with `rng` of any size, each frame twice, in any order."""
    now = datetime.fromtimestamp(frames[-1].at, UTC) + timedelta(seconds=1)
    directory, handle = Directory(), fact_handler(settings)
    events = EventIngest(engine, directory, handle, telemetry_s=_TELEMETRY_S, clock=lambda: now)
    samples = SampleIngest(engine, directory, lambda: now)
    order = list(frames)
    if rng is not None:
        order += frames
        rng.shuffle(order)
    while order:
        size = rng.randint(1, 40) if rng is not None else 1
        batch, order = order[:size], order[size:]
        telemetry = [each for each in batch if each.topic.endswith(UpKind.TELEMETRY)]
        others = [each for each in batch if not each.topic.endswith(UpKind.TELEMETRY)]
        for pipeline, part in ((events, others), (samples, telemetry)):
            if part:
                pipeline.process(part)
    samples.write_banks()
    later = now + timedelta(minutes=1)
    wait = timedelta(seconds=1)
    Gaps(engine, directory, handle, wait=wait, give_up=wait, clock=lambda: later).look()


@pytest.fixture(scope="module")
def reference(recording: Recording, database_server: DatabaseServer) -> Iterator[Engine]:
    """The frames once, in the order in which they came."""
    url = database_server.copy(recording.before)
    with _engine(url) as engine:
        _play(recording.frames, engine, recording.settings, None)
        yield engine
    database_server.drop(url)


def test_the_recording_tells_of_everything(recording: Recording, reference: Engine) -> None:
    """Otherwise what follows would prove little."""
    assert len(recording.frames) > 25
    assert _count(reference, "rental", "state = 'completed'") >= 4
    assert _count(reference, "orphan_bank_case", "true") == 1
    assert _count(reference, "power_bank", "NOT known") == 1
    assert _count(reference, "device_stream", "true") == len(_CODES) + 1, "one cabinet started again"
    assert _count(reference, "device_event", "applied_at IS NULL") == 0


def test_played_in_order_it_ends_as_it_did_live(recording: Recording, reference: Engine) -> None:
    """Times of writing aside, and measurements, of which the live gateway heard some before the recording began."""
    views = (
        view("station_slot", "observed_at", "watched_until"),
        view("power_bank", "id", "created_at", "updated_at", "sampled_at", "charge_at", *_MEASURED),
        view("power_bank_movement", "id"),
        view("rental", "closed_at"),
        view("ledger_account"),
    )
    with _engine(recording.after) as live:
        different = differences(contents(live, views), contents(reference, views), recording.tolerance)
    assert not different, "\n".join(different)


@pytest.mark.parametrize("seed", _SEEDS)
def test_twice_and_shuffled_it_is_all_the_same(
    recording: Recording, reference: Engine, database_server: DatabaseServer, seed: int
) -> None:
    url = database_server.copy(recording.before)
    with _engine(url) as engine:
        _play(recording.frames, engine, recording.settings, Random(seed))
        different = differences(contents(reference, _VIEWS), contents(engine, _VIEWS), recording.tolerance)
    database_server.drop(url)
    assert not different, "\n".join(different)
