"""Events whose turn has come: simple state set-based, business one by one under savepoints."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple, cast

import structlog
from sqlalchemy.orm import Session

from device_gateway import dialects, faults
from device_gateway.business import FACTS, TRUSTED_OFFSET_MS, FactHandler, TakesMany, occurred_at, slot_beyond
from device_gateway.directory import StationRef
from device_gateway.intake import Arrived
from device_gateway.tally import Tally
from firmware_protocol.channels import type_name
from firmware_protocol.messages import (
    CommandResult,
    Deduced,
    DeducedFrame,
    EventMessage,
    Inventory,
    SlotLocked,
    SlotUnlocked,
    UpFrame,
)
from fleet.common.roundtrips import flush_later, send
from fleet.devices import dead_letters, inbox
from fleet.devices.cursor import Cursor
from fleet.devices.dead_letters import Rejected
from fleet.devices.facts import DeviceFact
from fleet.stations.bulk import LockState, apply_lock_states

_LOG: Final = structlog.get_logger(__name__)
NO_SUCH_SLOT: Final = "no_such_slot"
#: Fewer events than this are applied one by one.
MANY: Final = 2
_Take = Callable[[Session, Sequence[DeviceFact], datetime], list[DeviceFact]]


class Ready(NamedTuple):
    """An event in its turn, with the bytes it came as."""

    station: StationRef
    frame: UpFrame | DeducedFrame
    topic: str
    payload: bytes
    received_at: datetime
    #: Server clock minus cabinet clock, as known for this boot.
    offset_ms: int | None


class Applier:
    """Collects the events of one transaction in their order, then applies them in `finish`."""

    def __init__(
        self, session: Session, handle: FactHandler, tally: Tally, now: datetime, *, guarded: bool = True
    ) -> None:
        """`guarded`: every event under a savepoint; otherwise `finish` raises what any of them fails with."""
        self._session = session
        self._guarded = guarded
        self._handle = handle
        # `isinstance` of a protocol takes more than storing the event does.
        self._many = cast("TakesMany", handle) if hasattr(handle, "inventories") else None
        self._tally = tally
        self._now = now
        self._locks: list[LockState] = []
        self._facts: list[Ready] = []
        self._dead: list[inbox.Key] = []
        self.refused: list[Rejected] = []

    def add(self, each: Arrived, cursor: Cursor, siblings: Sequence[Cursor]) -> None:
        """An event whose turn it is. `siblings`: other open streams of its station."""
        frame, _, station = each
        message = frame.message
        if isinstance(message, SlotLocked | SlotUnlocked):
            if message.slot <= station.slot_count:
                locked = type(message) is SlotLocked
                self._locks.append(LockState(station.id, message.slot, locked, frame.boot, frame.seq))
                return
        elif type(message) not in FACTS:
            return
        self._facts.append(_ready(each, offset_for(cursor, siblings)))

    def finish(self) -> None:
        """Apply everything. Raises only what another try may mend; what cannot be applied is in `dead_letter`.

        Without guard it raises whatever an event fails with, here or at the latest when the transaction commits.
        """
        if self._guarded:
            send(self._session)  # what the inbox refuses is no event's fault
        apply_lock_states(self._session, self._locks)
        if self._many is None:
            self._apply_all(self._facts)
        else:
            self._apply_together(self._many)
        inbox.mark_applied(self._session, self._dead, None)

    def _apply_together(self, many: TakesMany) -> None:
        """Many at once where that is possible; every station's events in their order."""
        answers = [each for each in self._facts if _moves_nothing(each.frame.message)]
        answered = self._take_many(many.answers, answers)
        facts = [each for each in self._facts if _key(each) not in answered]
        # Last, because they lock slots of many stations, and others lock rentals before slots.
        shown = _last_inventories(facts)
        self._apply_all([each for each in facts if _key(each) not in shown])
        seen = self._take_many(many.inventories, list(shown.values()))
        self._apply_all([each for key, each in shown.items() if key not in seen])

    def _take_many(self, take: _Take, ready: Sequence[Ready]) -> set[inbox.Key]:
        """Which of these have been applied."""
        if len(ready) < MANY:
            return set()
        facts = [fact_of(each) for each in ready]
        try:
            with self._session.begin_nested():
                taken = {(fact.station_id, fact.boot, fact.seq) for fact in take(self._session, facts, self._now)}
                self._write()
        except Exception as error:
            if faults.is_transient(error):
                raise
            _LOG.exception("events applied one by one", events=len(ready))  # only that one is refused that is at fault
            return set()
        return taken

    def _apply_all(self, facts: Iterable[Ready]) -> None:
        for ready in facts:
            self._apply(ready)

    def _apply(self, ready: Ready) -> None:
        message = ready.frame.message
        beyond = slot_beyond(message, ready.station)
        if beyond is not None:
            self._bury(ready, NO_SUCH_SLOT, _beyond(beyond, ready.station))
            return
        if not self._guarded:
            self._handle(self._session, fact_of(ready), self._now)
            flush_later(self._session)
            return
        try:
            with self._session.begin_nested():
                self._handle(self._session, fact_of(ready), self._now)
                self._write()
        except Exception as error:
            if faults.is_transient(error):
                raise
            _LOG.exception(
                "event refused", station=ready.station.code, seq=ready.frame.seq, type=type_name(type(message))
            )
            self._bury(ready, faults.code_of(error), faults.reason_of(error))

    def _write(self) -> None:
        """What the database refuses must fail here, under the savepoint, and not when that is released."""
        self._session.flush()
        send(self._session)

    def _bury(self, ready: Ready, code: str, reason: str) -> None:
        rejected = Rejected(
            topic=ready.topic,
            station_code=ready.station.code,
            payload=ready.payload,
            content_type=None,
            error_code=code,
            error=reason,
            received_at=ready.received_at,
        )
        dead_letters.record(self._session, rejected)
        self.refused.append(rejected)
        self._dead.append((ready.station.id, ready.frame.boot, ready.frame.seq))
        self._tally.dead[code] += 1


def _moves_nothing(message: object) -> bool:
    """An answer that names neither slot nor bank."""
    return isinstance(message, CommandResult) and message.slot is None and message.serial is None


def _key(ready: Ready) -> inbox.Key:
    return ready.station.id, ready.frame.boot, ready.frame.seq


def _last_inventories(facts: Iterable[Ready]) -> dict[inbox.Key, Ready]:
    """Inventories that are the last word of their stations."""
    last = {each.station.id: each for each in facts}
    return {_key(each): each for each in last.values() if isinstance(each.frame.message, Inventory)}


def _ready(each: Arrived, offset_ms: int | None) -> Ready:
    frame, received, station = each
    return Ready(station, frame, received.topic, received.payload, received.received_at, offset_ms)


def _beyond(slot: int, station: StationRef) -> str:
    return f"slot {slot}: station {station.code} has {station.slot_count}"


def fact_of(ready: Ready) -> DeviceFact:
    frame = ready.frame
    message = frame.message
    return DeviceFact(
        station_id=ready.station.id,
        station_code=ready.station.code,
        boot=frame.boot,
        seq=frame.seq,
        occurred_at=occurred_at(frame.at_ms, ready.offset_ms, ready.received_at),
        received_at=ready.received_at,
        replayed=frame.replayed,
        message=_event(message),
        numbered=dialects.numbers(ready.station.dialect),
    )


def _event(message: object) -> EventMessage | Deduced:
    assert isinstance(message, EventMessage | Deduced)
    return message


def offset_for(cursor: Cursor, siblings: Sequence[Cursor]) -> int | None:
    """The clock's difference of a boot; of a boot never heard live, that of the newest one if it is credible."""
    if cursor.offset_ms is not None:
        return cursor.offset_ms
    known = [each.offset_ms for each in siblings if each.offset_ms is not None]
    return known[-1] if known and abs(known[-1]) <= TRUSTED_OFFSET_MS else None
