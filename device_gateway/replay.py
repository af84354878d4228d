"""Dead letters once more through the pipeline's own code: for `voltbay dead-letters replay` and the operators' API."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from device_gateway import events, faults, intake, welcomes
from device_gateway.business import FactHandler
from device_gateway.directory import Directory
from device_gateway.ingest import UNKNOWN_STATION
from device_gateway.intake import Foreign, Intake
from device_gateway.received import Received
from device_gateway.vendor_sessions import INVENTORY_WITHIN
from device_gateway.work import Work
from firmware_protocol.commands import QueryInventory
from firmware_protocol.errors import ProtocolError
from fleet.common.errors import Conflict, NotFound
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import dead_letters, profiles, streams
from fleet.devices.commands import queue_command
from fleet.devices.models import DeadLetter
from fleet.settings import Settings
from fleet.telemetry.samples import Sample
from fleet.telemetry.store import SampleStore


class ReplayRefused(Exception):  # carries an answer, is not an error of this module
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Replayed:
    """`error` None: applied. Otherwise why it was refused again; the letter still waits."""

    dead_letter_id: int
    error: str | None


def replay(engine: Engine, dead_letter_id: int, handle: FactHandler, settings: Settings, now: datetime) -> Replayed:
    """Run one dead letter again. Raises NotFound, and Conflict when it does not wait any more."""
    error: str | None = None
    try:
        with session_scope(engine) as session:
            letter = _open_letter(session, dead_letter_id)
            apply(session, _received(letter), handle, settings, now)
            dead_letters.mark_replayed(session, dead_letter_id, now)
    except (NotFound, Conflict):
        raise
    except Exception as failure:
        if faults.is_transient(failure):
            raise
        error = str(failure) if isinstance(failure, ReplayRefused) else faults.reason_of(failure)
        with session_scope(engine) as session:
            dead_letters.mark_replayed(session, dead_letter_id, now, error)
    return Replayed(dead_letter_id, error)


def replay_requested(engine: Engine, handle: FactHandler, settings: Settings, now: datetime) -> list[Replayed]:
    """Run those that operators asked for."""
    with Session(engine) as session:
        wanted = dead_letters.requested(session)
    done: list[Replayed] = []
    for dead_letter_id in wanted:
        try:
            done.append(replay(engine, dead_letter_id, handle, settings, now))
        except Conflict:  # another gateway was faster
            continue
    return done


def _open_letter(session: Session, dead_letter_id: int) -> DeadLetter:
    letter = dead_letters.get(session, dead_letter_id, lock=True)
    if letter.state not in dead_letters.OPEN:
        raise Conflict(f"dead letter {dead_letter_id} is {letter.state}", dead_letter_id=dead_letter_id)
    return letter


def apply(session: Session, received: Received, handle: FactHandler, settings: Settings, now: datetime) -> None:
    """One frame in the caller's transaction. Raises ReplayRefused."""
    directory = Directory()
    sorted_ = intake.sort([received], directory)
    for frame, _ in sorted_.strangers:
        directory.learn(session, [frame.station])
    if sorted_.strangers:
        sorted_ = intake.sort([received], directory)
    if sorted_.strangers:
        raise ReplayRefused(UNKNOWN_STATION, f"no station has the code {sorted_.strangers[0][0].station}")
    if sorted_.foreign_strangers:
        directory.learn_hardware(session, [each[2].hardware_id for each in sorted_.foreign_strangers])
        sorted_ = intake.sort([received], directory)
    if sorted_.foreign_strangers:
        hardware_id = sorted_.foreign_strangers[0][2].hardware_id
        raise ReplayRefused(UNKNOWN_STATION, f"no station has the hardware id {hardware_id}")
    for rejected in sorted_.rejected:
        raise ReplayRefused(rejected.error_code, rejected.error)
    for foreign in sorted_.vendors:
        _ask_instead(session, foreign, settings, now)
    if sorted_.session:
        # What it says to the cabinet is not sent: the session it belongs to is long over.
        welcomes.take(session, sorted_.session, now, telemetry_s=settings.telemetry_s)
    _samples(session, sorted_, now)
    _events(session, sorted_, directory, handle, now)


def _ask_instead(session: Session, foreign: Foreign, settings: Settings, now: datetime) -> None:
    """A vendor's frame has no number that says how old it is: when it can be read, its cabinet is asked instead."""
    station_id = foreign.station.id
    known = profiles.known(session, [station_id], now, Vault.of(settings, profiles.PURPOSE))
    try:
        foreign.dialect.read(foreign.received.topic, foreign.received.payload, known[station_id])
    except ProtocolError as error:
        raise ReplayRefused(error.code, str(error)) from error
    queue_command(session, station_id=station_id, command=QueryInventory(), deadline=now + INVENTORY_WITHIN, now=now)


def _samples(session: Session, sorted_: Intake, now: datetime) -> None:
    samples = [
        Sample(each.station.id, each.frame.boot, each.frame.seq, each.received.received_at, each.frame.message)  # type: ignore[arg-type]  # the sample stream has these two types
        for each in sorted_.samples
    ]
    if samples:
        SampleStore().store(session, samples, now)


def _events(session: Session, sorted_: Intake, directory: Directory, handle: FactHandler, now: datetime) -> None:
    if not (sorted_.events or sorted_.lost):
        return
    keys = {(each.station.id, each.frame.boot) for each in sorted_.events}
    streams.lock_stations(session, sorted({key[0] for key in keys}))
    streams.create(session, keys)
    work = Work(session, directory, handle, now)
    events.take(work, sorted_.events, sorted_.lost, replaying=True)
    if work.tally.dead:
        refused = work.applier.refused[0]
        raise ReplayRefused(refused.error_code, refused.error)


def _received(letter: DeadLetter) -> Received:
    return Received(letter.topic, bytes(letter.payload), letter.content_type, 0, 0, 0, letter.received_at.timestamp())
