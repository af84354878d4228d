"""The world as it is: cabinets, banks and hands. It knows nothing of the backend but the bytes that reach it.

Small and sequential on purpose: this is what the backend's tables are compared with.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from device_gateway.received import Received
from firmware_protocol.commands import CommandFrame, EjectPowerBank, QueryInventory
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import (
    Booted,
    CommandResult,
    Inventory,
    JournalLost,
    PowerBankEjected,
    PowerBankInserted,
    SlotInventory,
    UpFrame,
    UpMessage,
)
from firmware_protocol.types import CommandOutcome, SlotState

BOOT: Final = 1
CHARGE: Final = 80


class Departure(NamedTuple):
    """A bank left a slot by a command."""

    command_id: UUID
    serial: str
    at: datetime


class Arrival(NamedTuple):
    """A bank was put into a slot."""

    serial: str
    at: datetime
    code: str
    slot: int


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a cabinet's journal."""

    seq: int
    message: UpMessage
    at: datetime


@dataclass
class Cabinet:
    code: str
    slots: dict[int, str | None]
    seq: int = 0
    #: In the journal, never yet delivered.
    waiting: list[Event] = field(default_factory=list)
    #: Delivered; the broker or the cabinet may say it again.
    said: list[Event] = field(default_factory=list)
    #: Orders that arrived and were not looked at yet.
    orders: list[CommandFrame] = field(default_factory=list)
    #: What became of every command, by its id.
    results: dict[str, CommandResult] = field(default_factory=dict)
    #: Refused with a jam: the bank may fall out later.
    jammed: dict[str, int] = field(default_factory=dict)
    departures: list[Departure] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    #: Serials about whose movements the cabinet has lost its record.
    forgotten: set[str] = field(default_factory=set)

    # What it tells

    def record(self, message: UpMessage, at: datetime) -> None:
        self.seq += 1
        self.waiting.append(Event(self.seq, message, at))

    def booted(self, at: datetime) -> Received:
        slots = len(self.slots)
        return self._frame(0, Booted(epoch=1, firmware="1", hardware="model", slots=slots), at, at, replayed=False)

    def frame(self, event: Event, received_at: datetime) -> Received:
        replayed = received_at != event.at
        return self._frame(event.seq, event.message, event.at, received_at, replayed=replayed)

    def forget(self, at: datetime) -> Received | None:
        """The journal is worn out: whatever was not told never will be. Not of a theft: a bank that is gone while an
        order for it is out, and no word of how, is taken to have left by the order; nobody can know better.
        """
        thefts = [e for e in self.waiting if isinstance(e.message, PowerBankEjected) and e.message.command_id is None]
        if thefts or not self.waiting:
            return None
        lost, self.waiting = self.waiting, []
        for event in lost:
            if isinstance(event.message, PowerBankEjected | PowerBankInserted) and event.message.serial:
                self.forgotten.add(event.message.serial)
        message = JournalLost(boot=BOOT, first=lost[0].seq, last=lost[-1].seq)
        return self._frame(0, message, at, at, replayed=False)

    def inventory(self, at: datetime, command_id: str | None = None) -> None:
        slots = tuple(
            SlotInventory(
                slot=number,
                state=SlotState.EMPTY if serial is None else SlotState.OCCUPIED,
                serial=serial,
                charge_pct=None if serial is None else CHARGE,
            )
            for number, serial in sorted(self.slots.items())
        )
        self.record(Inventory(slots=slots, command_id=command_id), at)

    def _frame(self, seq: int, message: UpMessage, at: datetime, received_at: datetime, *, replayed: bool) -> Received:
        frame = UpFrame(
            station=self.code,
            boot=BOOT,
            seq=seq,
            at_ms=round(at.timestamp() * 1000),
            message=message,
            replayed=replayed,
        )
        made = NATIVE.publish_up(frame)
        return Received(made.topic, made.payload, made.content_type, made.qos, 1, 1, received_at.timestamp())

    # What it is told

    def take(self, order: Published) -> None:
        self.orders.append(NATIVE.decode_command(order.payload, order.content_type))

    def act(self, at: datetime, mood: str) -> None:
        """Carry out the oldest order. `mood`: obey, jam, wrong (another bank), mute (it moves, nothing is told) or
        deaf (the order is lost).
        """
        order = self.orders.pop(0)
        if mood == "deaf":
            return
        known = self.results.get(order.command_id)
        if known is not None:
            self.record(known, at)
        elif at.timestamp() * 1000 > order.deadline_ms:
            self._finish(order.command_id, CommandOutcome.EXPIRED, at, code="deadline_passed")
        elif isinstance(order.command, EjectPowerBank):
            self._eject(order.command_id, order.command, at, mood)
        else:
            if isinstance(order.command, QueryInventory):
                self.inventory(at, order.command_id)
            self._finish(order.command_id, CommandOutcome.SUCCEEDED, at)

    def _eject(self, command_id: str, wanted: EjectPowerBank, at: datetime, mood: str) -> None:
        slot = wanted.slot or 0
        if self.slots.get(slot) is None or self.slots[slot] != wanted.serial:
            self._finish(command_id, CommandOutcome.FAILED, at, code="serial_mismatch")
            return
        if mood == "jam":
            self.jammed[command_id] = slot
            self._finish(command_id, CommandOutcome.FAILED, at, code="jam")
            return
        if mood == "wrong":
            slot = next((n for n, serial in self.slots.items() if serial is not None and n != slot), slot)
        serial = self._let_go(command_id, slot, at, told=mood != "mute")
        done = CommandResult(command_id=command_id, outcome=CommandOutcome.SUCCEEDED, slot=slot, serial=serial)
        self.results[command_id] = done
        if mood != "mute":
            self.record(done, at)

    def fall_out(self, command_id: str, at: datetime) -> bool:
        """The bank of an eject that was given up comes loose after all, and the rider takes it."""
        slot = self.jammed.pop(command_id)
        if self.slots[slot] is None:
            return False
        self._let_go(command_id, slot, at, told=True)
        return True

    def steal(self, slot: int, at: datetime) -> str:
        """Somebody pulls a bank out by force."""
        serial = self.slots[slot]
        assert serial is not None
        self.slots[slot] = None
        self.record(PowerBankEjected(slot=slot, serial=serial), at)
        return serial

    def insert(self, slot: int, serial: str, at: datetime) -> None:
        assert self.slots[slot] is None
        self.slots[slot] = serial
        self.arrivals.append(Arrival(serial, at, self.code, slot))
        self.record(PowerBankInserted(slot=slot, serial=serial, charge_pct=CHARGE // 2), at)

    def _let_go(self, command_id: str, slot: int, at: datetime, *, told: bool) -> str:
        serial = self.slots[slot]
        assert serial is not None
        self.slots[slot] = None
        self.departures.append(Departure(UUID(command_id), serial, at))
        if told:
            self.record(PowerBankEjected(slot=slot, serial=serial, command_id=command_id), at)
        else:
            self.forgotten.add(serial)
        return serial

    def _finish(self, command_id: str, outcome: CommandOutcome, at: datetime, code: str | None = None) -> None:
        result = CommandResult(command_id=command_id, outcome=outcome, code=code)
        self.results[command_id] = result
        self.record(result, at)
