"""Frames of vendors' cabinets: read in the light of what is known of each, numbered, then taken like any event.

(boot, seq) are given here, under the lock of the station's stream: `boot` is that of the station's session, `seq`
counts on. Events are thereby in the order in which they were stored, once each; what repeats itself is for the dialect
and the services to see, because nothing in such a frame says that it is a repeat (decision 0085).
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from device_gateway import events, intake
from device_gateway.business import FactHandler
from device_gateway.connections import Connections
from device_gateway.directory import Directory
from device_gateway.habits import Habits
from device_gateway.ingest import Done, reject
from device_gateway.intake import Arrived, Foreign
from device_gateway.vendor_sessions import open_for
from device_gateway.work import Work
from firmware_protocol.channels import type_name
from firmware_protocol.dialect import Published
from firmware_protocol.errors import AmbiguousLayout, LayoutMismatch, ProtocolError
from firmware_protocol.messages import (
    CheckNeeded,
    Deduced,
    DeducedFrame,
    EventMessage,
    FrameNoted,
    Inventory,
    UpFrame,
)
from firmware_protocol.vendor import Known, Reading
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import inbox, profiles, streams
from fleet.devices.cursor import Cursor
from fleet.devices.dead_letters import Rejected
from fleet.telemetry.samples import Sample
from fleet.telemetry.store import SampleStore, Thin

#: A frame and its place in the batch.
Placed = tuple[int, Foreign]


class VendorIngest:
    """One transaction for sessions, one for what was said, as for native cabinets. Not thread-safe."""

    def __init__(
        self,
        engine: Engine,
        directory: Directory,
        handle: FactHandler,
        vault: Vault,
        gateway: str = "",
        *,
        thin: Thin | None = None,
        habits: Habits | None = None,
    ) -> None:
        """`thin`: which samples become rows; all of them without it. `habits` learns from heartbeats."""
        self._engine = engine
        self._directory = directory
        self._handle = handle
        self._vault = vault
        self._gateway = gateway
        self._samples = SampleStore(thin)
        self._habits = habits
        #: Heartbeats of the transaction in hand.
        self._beats: list[Sample] = []
        #: Banks whose rows it has written to.
        self._banks: set[int] = set()

    def take(self, frames: Sequence[Foreign], now: datetime) -> Done:
        """Commits everything or raises; a frame that cannot be read goes to the dead letters alone."""
        done = Done()
        with session_scope(self._engine) as session:
            open_for(session, {each.station.id: each for each in frames}, now)
            bound = Connections(session, self._gateway, self._vault, now, done)
            free = [each for each in frames if bound.admits(each)]
            reject(session, bound.refused, done.tally)
        self._beats, self._banks = [], set()
        try:
            with session_scope(self._engine) as session:
                done.add(self.take_in(session, free, now))
        except Exception:
            self._samples.banks.forget(self._banks)
            raise
        if self._habits is not None:
            self._habits.beats((each.station_id, each.at.timestamp(), each.message) for each in self._beats)
        return done

    def take_in(self, session: Session, frames: Sequence[Foreign], now: datetime) -> Done:
        """The same in the caller's transaction, for stations that have a session."""
        done = Done(heard={each.station.id for each in frames})
        waiting: dict[int, deque[Placed]] = {}
        for placed in enumerate(frames):
            waiting.setdefault(placed[1].station.id, deque()).append(placed)
        # What a frame changes is known when the next one of its station is read.
        while waiting:
            self._round(session, waiting, done, now)
            waiting = {station_id: queue for station_id, queue in waiting.items() if queue}
        return done

    def _round(self, session: Session, waiting: Mapping[int, deque[Placed]], done: Done, now: datetime) -> None:
        ids = sorted(waiting)
        lines = streams.lock_open(session, ids)
        known = profiles.known(session, ids, now, self._vault)
        work = Work(session, self._directory, self._handle, now)
        rejected: list[Rejected] = []
        placed = [each for key in ids for each in self._read_on(work, waiting[key], known[key], rejected)]
        read = [(foreign, reading) for _, foreign, reading in sorted(placed, key=lambda each: each[0])]
        reject(session, rejected, work.tally)
        arrived = _number(read, lines)
        events.take(work, arrived)
        inbox.annotate(session, [(_key(each), _json(each.frame.message)) for each in arrived])
        self._learn(work, read)
        self._store_samples(work, read, lines)
        done.add(Done(work.outbound, work.tally))

    def _read_on(
        self, work: Work, queue: deque[Placed], known: Known, rejected: list[Rejected]
    ) -> list[tuple[int, Foreign, Reading]]:
        """Frames of one station, taken from its queue up to one that changes what is known of it. What says nothing
        costs no more than its reading: a cabinet that floods us must not keep the others waiting.
        """
        found: list[tuple[int, Foreign, Reading]] = []
        while queue:
            place, each = queue.popleft()
            received, station, dialect, _ = each
            try:
                reading = dialect.read(received.topic, received.payload, known)
            except ProtocolError as error:
                rejected.append(intake.reject(received, error.code, str(error), station))
                if isinstance(error, AmbiguousLayout | LayoutMismatch) and not known.stale:
                    profiles.inventory_refused(work.session, station.id, error.code, str(error), work.now)
                    known = replace(known, stale=True)
                continue
            found.append((place, each, reading))
            if _changes(reading):
                break
        return found

    def _learn(self, work: Work, read: Iterable[tuple[Foreign, Reading]]) -> None:
        well = []
        for each, reading in read:
            profiles.learn(work.session, each.station.id, work.now, layout=reading.layout, revision=reading.revision)
            if any(isinstance(event, Inventory) and event.complete for event in reading.events):
                well.append(each.station.id)
            if reading.reply is not None:
                reply = Published(topic=each.received.topic, payload=reading.reply, qos=0)
                work.outbound.messages.append(reply)
        if well:
            profiles.inventory_well(work.session, well)

    def _store_samples(
        self, work: Work, read: Iterable[tuple[Foreign, Reading]], lines: dict[int, list[Cursor]]
    ) -> None:
        """Samples are told apart by their receipt: nobody asks for one again."""
        samples = [
            Sample(each.station.id, line[-1].boot, round(each.received.at * 1_000_000), each.received.received_at, said)
            for each, reading in read
            if (line := lines.get(each.station.id))
            for said in reading.samples
        ]
        if samples:
            for sample in self._samples.store(work.session, samples, work.now):
                work.tally.applied[type_name(type(sample.message))] += 1
                self._beats.append(sample)
            self._banks.update(self._samples.write_banks(work.session))


def _changes(reading: Reading) -> bool:
    """Whether more is known of the cabinet once this is applied. A look into its slots is only asked for."""
    told = any(not isinstance(event, CheckNeeded | FrameNoted) for event in reading.events)
    return told or reading.layout is not None or reading.revision is not None


def _number(read: Iterable[tuple[Foreign, Reading]], lines: dict[int, list[Cursor]]) -> list[Arrived]:
    """Each event has the next place in the stream of the session that `open_for` has seen to."""
    last = {station_id: line[-1].seen for station_id, line in lines.items()}
    found = []
    for each, reading in read:
        station_id = each.station.id
        for message in reading.events:
            last[station_id] += 1
            frame = _frame(each, lines[station_id][-1].boot, last[station_id], message)
            found.append(Arrived(frame, each.received, each.station))
    return found


def _frame(each: Foreign, boot: int, seq: int, message: EventMessage | Deduced) -> UpFrame | DeducedFrame:
    code = each.station.code
    if isinstance(message, Deduced):
        return DeducedFrame(station=code, boot=boot, seq=seq, message=message)
    return UpFrame(station=code, boot=boot, seq=seq, at_ms=None, message=message)


def _key(each: Arrived) -> inbox.Key:
    return each.station.id, each.frame.boot, each.frame.seq


def _json(message: object) -> str:
    return msgspec.json.encode(message).decode()
