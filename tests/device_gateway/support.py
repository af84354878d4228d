"""Stations, frames as they come from the broker, and an ingest without one."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session, SessionTransaction

from device_gateway.directory import Directory
from device_gateway.event_ingest import EventIngest
from device_gateway.gaps import Gaps
from device_gateway.ingest import Done
from device_gateway.received import Received
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import (
    Booted,
    JournalRange,
    PowerBankInserted,
    SlotLocked,
    SlotUnlocked,
    UpFrame,
    UpMessage,
)
from firmware_protocol.types import ResetCause
from fleet.db import session_scope
from fleet.devices.facts import DeviceFact
from fleet.stations.models import Station, StationSlot

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def add_station(engine: Engine, code: str, *, slots: int = 4, heartbeat_s: int = 30) -> int:
    with session_scope(engine) as session:
        station = Station(
            code=code,
            name=code,
            latitude=0.0,
            longitude=0.0,
            h3_cell=0,
            slot_count=slots,
            heartbeat_s=heartbeat_s,
            created_at=NOON,
            updated_at=NOON,
        )
        session.add(station)
        session.flush()
        session.add_all(StationSlot(station_id=station.id, number=number) for number in range(1, slots + 1))
        return station.id


def as_received(frame: UpFrame, at: datetime = NOON) -> Received:
    published = NATIVE.publish_up(frame)
    return Received(published.topic, published.payload, published.content_type, published.qos, 1, 1, at.timestamp())


def up(
    code: str, seq: int, message: UpMessage, *, boot: int = 1, at: datetime = NOON, replayed: bool = False
) -> Received:
    """One message whose cabinet's clock is right."""
    frame = UpFrame(
        station=code, boot=boot, seq=seq, at_ms=round(at.timestamp() * 1000), message=message, replayed=replayed
    )
    return as_received(frame, at)


def lock(code: str, seq: int, *, slot: int = 1, boot: int = 1) -> Received:
    """Odd seqs lock, even ones unlock."""
    message = SlotLocked(slot=slot) if seq % 2 else SlotUnlocked(slot=slot)
    return up(code, seq, message, boot=boot)


def insert(code: str, seq: int, *, slot: int = 1, boot: int = 1, serial: str | None = None) -> Received:
    return up(code, seq, PowerBankInserted(slot=slot, serial=serial or f"B{boot}-{seq}"), boot=boot)


def booted(
    code: str,
    epoch: int,
    *,
    boot: int = 1,
    journal: Sequence[tuple[int, int, int]] = (),
    cause: ResetCause = ResetCause.POWER_ON,
    at: datetime = NOON,
) -> Received:
    held = tuple(JournalRange(boot=b, first=first, last=last) for b, first, last in journal)
    message = Booted(epoch=epoch, firmware="1", hardware="h", slots=4, journal=held, reset_cause=cause)
    return up(code, 0, message, boot=boot, at=at)


class Facts:
    """Stands where the business stands, and writes down what reaches it in which order, and is not taken back."""

    def __init__(self, refuse: Callable[[DeviceFact], Exception | None] | None = None) -> None:
        self.seen: list[DeviceFact] = []
        self.refuse = refuse

    def __call__(self, session: Session, fact: DeviceFact, now: datetime) -> None:
        del now
        error = self.refuse(fact) if self.refuse is not None else None
        if error is not None:
            raise error
        self.seen.append(fact)

        def taken_back(_: Session, transaction: SessionTransaction) -> None:
            if transaction.parent is None:
                self.seen.remove(fact)

        event.listen(session, "after_soft_rollback", taken_back)

    @property
    def order(self) -> list[tuple[str, int, int]]:
        return [(fact.station_code, fact.boot, fact.seq) for fact in self.seen]


class Bench:
    """The events' side of a gateway, with a clock of the test's own."""

    def __init__(self, engine: Engine, facts: Facts | None = None) -> None:
        self.engine = engine
        self.now = NOON
        self.facts = facts or Facts()
        self.directory = Directory()
        self.ingest = EventIngest(engine, self.directory, self.facts, telemetry_s=60, clock=lambda: self.now)
        self.gaps = Gaps(
            engine,
            self.directory,
            self.facts,
            wait=timedelta(seconds=0.5),
            give_up=timedelta(seconds=3.5),
            clock=lambda: self.now,
        )

    def take(self, *batch: Received) -> Done:
        return self.ingest.process(batch)

    def later(self, seconds: float) -> Done:
        self.now += timedelta(seconds=seconds)
        return self.gaps.look()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def one(self, query: str) -> Any:
        return self.rows(query)[0][0]
