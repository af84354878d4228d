"""Frames of vendors' cabinets: read in the light of what is known of each, numbered, then taken like any event.

(boot, seq) are given here, under the lock of the station's stream: `boot` is that of the station's session, `seq`
counts on. Events are thereby in the order in which they were stored, once each; what repeats itself is for the dialect
and the services to see, because nothing in such a frame says that it is a repeat (decision 0085).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from device_gateway import events, intake
from device_gateway.business import FactHandler
from device_gateway.connections import Connections
from device_gateway.directory import Directory
from device_gateway.ingest import Done, reject
from device_gateway.intake import Arrived, Foreign
from device_gateway.vendor_sessions import open_for
from device_gateway.work import Work
from firmware_protocol.channels import type_name
from firmware_protocol.dialect import Published
from firmware_protocol.errors import AmbiguousLayout, LayoutMismatch, ProtocolError
from firmware_protocol.messages import (
    Deduced,
    DeducedFrame,
    EventMessage,
    Inventory,
    UpFrame,
)
from firmware_protocol.vendor import Known, Reading
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import inbox, profiles, streams
from fleet.devices.cursor import Cursor
from fleet.telemetry.samples import Sample
from fleet.telemetry.store import SampleStore, Thin


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
    ) -> None:
        """`thin`: which samples become rows; all of them without it."""
        self._engine = engine
        self._directory = directory
        self._handle = handle
        self._vault = vault
        self._gateway = gateway
        self._samples = SampleStore(thin)

    def take(self, frames: Sequence[Foreign], now: datetime) -> Done:
        """Commits everything or raises; a frame that cannot be read goes to the dead letters alone."""
        done = Done()
        with session_scope(self._engine) as session:
            open_for(session, {each.station.id: each for each in frames}, now)
            bound = Connections(session, self._gateway, self._vault, now, done)
            free = [each for each in frames if bound.admits(each)]
        with session_scope(self._engine) as session:
            done.add(self.take_in(session, free, now))
        return done

    def take_in(self, session: Session, frames: Sequence[Foreign], now: datetime) -> Done:
        """The same in the caller's transaction, for stations that have a session."""
        done = Done(heard={each.station.id for each in frames})
        # Two frames of one station in one batch: the second is read knowing what the first one changed.
        for together in rounds(frames):
            self._round(session, together, done, now)
        return done

    def _round(self, session: Session, frames: Sequence[Foreign], done: Done, now: datetime) -> None:
        ids = sorted({each.station.id for each in frames})
        lines = streams.lock_open(session, ids)
        known = profiles.known(session, ids, now, self._vault)
        work = Work(session, self._directory, self._handle, now)
        read = [(each, reading) for each in frames if (reading := self._read(work, each, known)) is not None]
        arrived = [each for foreign, reading in read for each in _number(foreign, reading, lines)]
        events.take(work, arrived)
        inbox.annotate(session, [(_key(each), _json(each.frame.message)) for each in arrived])
        self._learn(work, read)
        self._store_samples(work, read, lines)
        done.add(Done(work.outbound, work.tally))

    def _read(self, work: Work, each: Foreign, known: dict[int, Known]) -> Reading | None:
        received, station, dialect, _ = each
        try:
            return dialect.read(received.topic, received.payload, known[station.id])
        except ProtocolError as error:
            reject(work.session, intake.reject(received, error.code, str(error), station), work.tally)
            if isinstance(error, AmbiguousLayout | LayoutMismatch):
                profiles.inventory_refused(work.session, station.id, error.code, str(error), work.now)
            return None

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
            self._samples.write_banks(work.session)


def rounds(frames: Sequence[Foreign]) -> list[list[Foreign]]:
    """Each with at most one frame of a station, in the order in which they came."""
    found: list[list[Foreign]] = []
    count: dict[int, int] = {}
    for each in frames:
        number = count.get(each.station.id, 0)
        count[each.station.id] = number + 1
        if number == len(found):
            found.append([])
        found[number].append(each)
    return found


def _number(each: Foreign, reading: Reading, lines: dict[int, list[Cursor]]) -> list[Arrived]:
    cursor = lines[each.station.id][-1]  # of the session that `open_for` has seen to
    first = cursor.seen + 1
    return [
        Arrived(_frame(each, cursor.boot, seq, message), each.received, each.station)
        for seq, message in enumerate(reading.events, first)
    ]


def _frame(each: Foreign, boot: int, seq: int, message: EventMessage | Deduced) -> UpFrame | DeducedFrame:
    code = each.station.code
    if isinstance(message, Deduced):
        return DeducedFrame(station=code, boot=boot, seq=seq, message=message)
    return UpFrame(station=code, boot=boot, seq=seq, at_ms=None, message=message)


def _key(each: Arrived) -> inbox.Key:
    return each.station.id, each.frame.boot, each.frame.seq


def _json(message: object) -> str:
    return msgspec.json.encode(message).decode()
