"""The slots of one cabinet, and the banks inside them."""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from firmware_protocol.messages import SlotInventory, SlotSample
from firmware_protocol.types import CommandOutcome, SlotFaultKind, SlotState
from simulators.battery import PowerBank
from simulators.errors import CannotInsert, NothingToRemove, Refused
from simulators.spec import StationSpec


class Slot(Struct, kw_only=True):
    """`released`: a bank that the motor has let go and nobody has pulled; sensors see an empty slot."""

    number: int
    bank: PowerBank | None = None
    released: PowerBank | None = None
    locked: bool = False
    fault: SlotFaultKind | None = None

    @property
    def state(self) -> SlotState:
        if self.fault is not None or (self.bank is not None and self.bank.serial is None):
            return SlotState.FAULT
        return SlotState.OCCUPIED if self.bank is not None else SlotState.EMPTY


class Slots:
    """Slots 1..n. Banks inside charge; they are brought up to date when somebody looks."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._slots = {slot.number: slot for slot in slots}

    @classmethod
    def of(cls, station: StationSpec, now_ms: int) -> "Slots":
        """As the fleet's specification fills them."""
        banks = {
            bank.slot: PowerBank(
                serial=bank.serial,
                charge=float(bank.charge_pct),
                cycles=float(bank.cycles),
                health_pct=bank.health_pct,
                capacity_mah=bank.capacity_mah,
                as_of_ms=now_ms,
            )
            for bank in station.banks
        }
        return cls(Slot(number=number, bank=banks.get(number)) for number in range(1, station.slots + 1))

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, number: int) -> Slot | None:
        return self._slots.get(number)

    def with_bank(self) -> list[Slot]:
        return [slot for slot in self if slot.bank is not None]

    def target(self, number: int | None, serial: str | None) -> tuple[Slot, PowerBank]:
        """The slot that an eject names by number, serial or both. Raises Refused: nothing may move."""
        if number is not None and number not in self._slots:
            raise Refused(CommandOutcome.INVALID, "no_such_slot")
        slot = self._slots[number] if number is not None else self._holding(serial)
        if slot is None:
            raise Refused(CommandOutcome.FAILED, "bank_not_here")
        if slot.locked:
            raise Refused(CommandOutcome.FAILED, "slot_locked")
        if slot.bank is None:
            raise Refused(CommandOutcome.FAILED, "slot_empty")
        if serial is not None and slot.bank.serial != serial:
            raise Refused(CommandOutcome.FAILED, "serial_mismatch")
        if slot.fault is not None:
            raise Refused(CommandOutcome.FAILED, "slot_fault")
        return slot, slot.bank

    def insert(self, bank: PowerBank, number: int | None, now_ms: int) -> Slot:
        """Put `bank` into slot `number`, or the first that takes it. Raises CannotInsert."""
        slot = self._free(number)
        bank.as_of_ms = max(bank.as_of_ms, now_ms)
        slot.bank = bank
        return slot

    def take(self, number: int, now_ms: int) -> PowerBank:
        """Pull the bank out of slot `number`. Raises NothingToRemove."""
        slot = self._slots.get(number)
        if slot is None or slot.bank is None:
            raise NothingToRemove(f"slot {number} holds no bank")
        bank, slot.bank = slot.bank, None
        bank.charge_until(now_ms)
        return bank

    def inventory(self, now_ms: int) -> tuple[SlotInventory, ...]:
        self._charge(now_ms)
        return tuple(
            SlotInventory(
                slot=slot.number,
                state=slot.state,
                serial=slot.bank.serial if slot.bank else None,
                locked=slot.locked,
                charge_pct=slot.bank.charge_pct if slot.bank and slot.bank.serial else None,
            )
            for slot in self
        )

    def samples(self, now_ms: int, ambient_c: float) -> tuple[SlotSample, ...]:
        """One per readable bank."""
        self._charge(now_ms)
        return tuple(
            SlotSample(slot=slot.number, serial=slot.bank.serial, **slot.bank.read(ambient_c)._asdict())
            for slot in self
            if slot.bank is not None and slot.bank.serial is not None
        )

    def snapshot(self) -> list[Slot]:
        """For the state file."""
        return list(self)

    def settle(self) -> None:
        """After a restart: what was released and not taken is found in its slot again."""
        for slot in self:
            if slot.released is not None:
                slot.bank, slot.released = slot.released, None

    def _holding(self, serial: str | None) -> Slot | None:
        return next((slot for slot in self if slot.bank is not None and slot.bank.serial == serial), None)

    def _free(self, number: int | None) -> Slot:
        if number is None:
            free = (slot for slot in self if slot.bank is None and slot.released is None and not slot.locked)
            slot = next(free, None)
            if slot is None:
                raise CannotInsert("the cabinet has no free slot")
            return slot
        slot = self._slots.get(number)
        if slot is None:
            raise CannotInsert(f"the cabinet has no slot {number}")
        if slot.bank is not None or slot.released is not None:
            raise CannotInsert(f"slot {number} is not empty")
        if slot.locked:
            raise CannotInsert(f"slot {number} is locked")
        return slot

    def _charge(self, now_ms: int) -> None:
        for slot in self:
            if slot.bank is not None:
                slot.bank.charge_until(now_ms)
