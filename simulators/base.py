"""What every virtual cabinet is to the driver, the control API and tests, whatever it speaks."""

from abc import ABC, abstractmethod

from msgspec import Struct

from firmware_protocol.firmware.documents import Release
from firmware_protocol.firmware.trust import Trust
from firmware_protocol.messages import JournalRange
from firmware_protocol.types import ConfigValue, ResetCause, SlotFaultKind
from simulators.agenda import Scope
from simulators.battery import PowerBank
from simulators.board import Board
from simulators.errors import CannotInsert
from simulators.faults import Fault, FaultKind
from simulators.hands import Hands
from simulators.journal import Journal, JournalEntry
from simulators.memory import CommandMemory, Remembered
from simulators.motor import Motor
from simulators.outputs import Output
from simulators.slots import Slot, Slots
from simulators.spec import StationSpec
from simulators.tuning import Tuning
from simulators.uplink import Phase


class CabinetSnapshot(Struct, frozen=True, kw_only=True):
    """What a cabinet's flash and slots hold when the power goes."""

    boot: int
    epoch: int
    slots: list[Slot]
    journal: list[JournalEntry]
    lost: list[JournalRange]
    remembered: list[Remembered]
    config: dict[str, ConfigValue]
    config_version: int
    firmware: str | None = None
    trust: Trust | None = None
    starting: Release | None = None


class AnyCabinet(ABC):
    """A state machine without input or output.

    The driver calls `opened`, `closed` and `received` for the session it was told to open, `wake` when `next_due()` has
    come, and carries out what `drain()` returns after each of these calls and of the others. Every `now_ms` is the true
    time in ms since 1970; what the cabinet believes is its own affair.
    """

    executor: Motor

    def __init__(self, station: StationSpec, tuning: Tuning, hands: Hands, seed: int, now_ms: int) -> None:
        self.board = Board(station, tuning, hands, seed, now_ms)
        #: Frames from the backend that did not decode.
        self.unreadable = 0
        self._absences = 0

    @property
    def code(self) -> str:
        return self.board.station.code

    @property
    @abstractmethod
    def phase(self) -> Phase: ...

    def drain(self) -> list[Output]:
        """What is to be done, in order; empties the list."""
        outputs = self.board.outputs[:]
        self.board.outputs.clear()
        return outputs

    def next_due(self) -> int | None:
        return self.board.agenda.next_due()

    def wake(self, now_ms: int) -> None:
        """Do what is due."""
        self.board.agenda.run(now_ms)

    @abstractmethod
    def power_on(self, now_ms: int) -> None:
        """The firmware starts."""

    @abstractmethod
    def restart(self, now_ms: int, cause: ResetCause = ResetCause.SOFTWARE) -> None:
        """The firmware stops here and starts again a few seconds later. Nothing is noticed in between."""

    @abstractmethod
    def opened(self, now_ms: int) -> None:
        """The session is up and hears everything that the backend says to this cabinet."""

    @abstractmethod
    def closed(self, now_ms: int) -> None:
        """The session ended by itself, or could not be opened."""

    @abstractmethod
    def received(self, topic: str, payload: bytes, content_type: str | None, now_ms: int) -> None:
        """One message from the backend. What cannot be read is counted and changes nothing."""

    @abstractmethod
    def hold(self, *, clean: bool) -> None:
        """Stay away from the network until `resume`."""

    @abstractmethod
    def resume(self, now_ms: int) -> None: ...

    @abstractmethod
    def shut_down(self, now_ms: int) -> None:
        """A planned end of this simulator: nothing reconnects."""

    @abstractmethod
    def inserted(self, slot: Slot, bank: PowerBank, now_ms: int) -> None:
        """A bank is in `slot`: say so."""

    @abstractmethod
    def removed(self, slot: int, bank: PowerBank, now_ms: int) -> None:
        """A bank left with no command: say so."""

    @abstractmethod
    def jammed(self, slot: Slot, kind: SlotFaultKind, now_ms: int, *, cleared: bool) -> None:
        """Something jammed, or works again: say so."""

    def insert(self, bank: PowerBank, slot: int | None, now_ms: int) -> int:
        """A rider puts `bank` into `slot`, or the first free one; returns the slot. Raises CannotInsert."""
        board = self.board
        if bank.serial is not None and any(s.bank and s.bank.serial == bank.serial for s in board.slots):
            raise CannotInsert(f"{bank.serial} is in this cabinet already")
        taken = board.slots.insert(bank, slot, now_ms)
        board.dirty = True
        self.inserted(taken, bank, now_ms)
        return taken.number

    def remove(self, slot: int, now_ms: int) -> PowerBank:
        """A bank leaves with no command, by force or by key. Raises NothingToRemove."""
        board = self.board
        bank = board.slots.take(slot, now_ms)
        board.hands.take(bank)
        board.dirty = True
        self.removed(slot, bank, now_ms)
        return bank

    def slot_fault(self, number: int, kind: SlotFaultKind, now_ms: int, *, cleared: bool) -> None:
        """Something jams, or works again. Raises CannotInsert when there is no such slot."""
        slot = self.board.slots.get(number)
        if slot is None:
            raise CannotInsert(f"the cabinet has no slot {number}")
        slot.fault = None if cleared else kind
        self.board.dirty = True
        self.jammed(slot, kind, now_ms, cleared=cleared)

    def disconnect(self, now_ms: int, *, for_ms: int | None = None, clean: bool = False) -> None:
        """Leave the network, for good or for `for_ms`."""
        self.hold(clean=clean)
        self._absences += 1
        absence = self._absences

        def back(due_ms: int) -> None:
            if absence == self._absences:
                self.resume(due_ms)

        if for_ms is not None:
            self.board.agenda.at(now_ms + for_ms, Scope.WORLD, back)

    def connect(self, now_ms: int) -> None:
        """Undo `disconnect`, whether it was for a time or for good."""
        self._absences += 1
        self.resume(now_ms)

    def add_fault(self, fault: Fault, now_ms: int) -> None:
        """From now on. OFFLINE_WITH_JOURNAL acts at once and is not kept."""
        if fault.kind is FaultKind.OFFLINE_WITH_JOURNAL:
            self.disconnect(now_ms, for_ms=int(fault.duration_s * 1000))
            return
        if fault.kind is FaultKind.CLOCK_DRIFT:
            self.board.clock.drift_ms = fault.drift_ms
        self.board.faults.add(fault)

    def clear_faults(self, kind: FaultKind | None = None) -> None:
        """One kind, or all. The clock is right again when its fault goes."""
        if kind in {None, FaultKind.CLOCK_DRIFT}:
            self.board.clock.drift_ms = 0
        self.board.faults.clear(kind)

    def snapshot(self) -> CabinetSnapshot:
        """What must survive; marks the cabinet clean."""
        board = self.board
        board.dirty = False
        return CabinetSnapshot(
            boot=board.boot,
            epoch=board.epoch,
            slots=board.slots.snapshot(),
            journal=list(board.journal),
            lost=list(board.journal.lost),
            remembered=board.memory.snapshot(),
            config=board.config,
            config_version=board.config_version,
            firmware=board.firmware,
            trust=board.trust,
            starting=board.starting or board.trial,
        )

    def restore(self, kept: CabinetSnapshot) -> None:
        """Before `power_on`: carry on from what was kept. The specification's banks are where the snapshot says."""
        board = self.board
        board.boot = kept.boot
        board.epoch = kept.epoch
        board.slots = Slots(kept.slots)
        board.slots.settle()
        board.journal = Journal(board.tuning.journal_size, kept.journal, kept.lost)
        board.memory = CommandMemory(kept.remembered)
        board.memory.interrupt()
        board.config = dict(kept.config)
        board.config_version = kept.config_version
        board.firmware = kept.firmware or board.firmware
        board.trust = kept.trust or board.trust
        board.starting = kept.starting
