"""One virtual cabinet: a state machine without input or output. Inputs and the true time go in, outputs come out."""

from msgspec import Struct

from firmware_protocol.commands import Ack, CommandFrame, Resend, Welcome
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.errors import ProtocolError
from firmware_protocol.firmware.documents import Release
from firmware_protocol.firmware.trust import Trust
from firmware_protocol.messages import JournalRange, PowerBankEjected, PowerBankInserted, SlotFault
from firmware_protocol.types import ConfigValue, ResetCause, SlotFaultKind
from simulators.agenda import Scope
from simulators.battery import PowerBank
from simulators.board import Board
from simulators.errors import CannotInsert
from simulators.executor import Executor
from simulators.faults import Fault, FaultKind
from simulators.hands import Hands
from simulators.journal import Journal, JournalEntry
from simulators.memory import CommandMemory, Remembered
from simulators.outputs import Output
from simulators.slots import Slot, Slots
from simulators.spec import StationSpec
from simulators.tuning import Tuning
from simulators.uplink import Phase, Uplink


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


class Cabinet:
    """The driver calls `opened`, `closed` and `received` for the session it was told to open, `wake` when
    `next_due()` has come, and carries out what `drain()` returns after each of these calls and of the others.

    Every `now_ms` is the true time in ms since 1970; what the cabinet believes is its own affair.
    """

    def __init__(self, station: StationSpec, tuning: Tuning, hands: Hands, seed: int, now_ms: int) -> None:
        self.board = Board(station, tuning, hands, seed, now_ms)
        self.uplink = Uplink(self.board)
        self.executor = Executor(self.board, self.restart)
        #: Frames from the backend that did not decode.
        self.unreadable = 0
        self._absences = 0

    @property
    def code(self) -> str:
        return self.board.station.code

    @property
    def phase(self) -> Phase:
        return self.uplink.phase

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

    def power_on(self, now_ms: int) -> None:
        """The firmware starts: a new boot, events from 1, and a first try to connect."""
        board = self.board
        board.boot += 1
        board.seq = board.sample_seq = 0
        board.booted_ms = now_ms
        board.start_firmware()
        board.running = board.inventory_due = board.dirty = True
        board.note(f"boot {board.boot} {board.reset_cause}", now_ms)
        self.uplink.connect_in(0, now_ms)

    def restart(self, now_ms: int, cause: ResetCause = ResetCause.SOFTWARE) -> None:
        """The firmware stops here and starts again a few seconds later. Nothing is noticed in between."""
        board = self.board
        self.uplink.hang_up(clean=False)
        board.agenda.cancel(Scope.FIRMWARE)
        self.executor.abandon()
        board.running = False
        board.reset_cause = cause
        board.dirty = True
        board.agenda.at(now_ms + board.rng.randint(*board.tuning.reboot_ms), Scope.FIRMWARE, self.power_on)

    def opened(self, now_ms: int) -> None:
        """The session is up and subscribed to everything that the backend says to this cabinet."""
        self.uplink.opened(now_ms)

    def closed(self, now_ms: int) -> None:
        """The session ended by itself, or could not be opened."""
        self.uplink.closed(now_ms)

    def received(self, topic: str, payload: bytes, content_type: str | None, now_ms: int) -> None:
        """One message from the backend. What cannot be read is counted and changes nothing."""
        try:
            message = NATIVE.decode_down(topic, payload, content_type)
        except ProtocolError as error:
            self.unreadable += 1
            self.board.note(f"unreadable {error.code}", now_ms)
            return
        match message:
            case Welcome():
                self.uplink.welcome(message, now_ms)
                if self.board.welcomed:
                    self.executor.settle_interrupted(now_ms)
            case Ack():
                self.uplink.acknowledge(message)
            case Resend():
                self.uplink.resend(message, now_ms)
            case CommandFrame():
                self.executor.execute(message, now_ms)

    def fetched(self, command_id: str, size: int, sha256: str, now_ms: int) -> None:
        """The download asked for by `Fetch` has ended; `size` 0: it could not be had."""
        self.executor.fetched(command_id, size, sha256, now_ms)

    def insert(self, bank: PowerBank, slot: int | None, now_ms: int) -> int:
        """A rider puts `bank` into `slot`, or the first free one; returns the slot. Raises CannotInsert."""
        board = self.board
        if bank.serial is not None and any(s.bank and s.bank.serial == bank.serial for s in board.slots):
            raise CannotInsert(f"{bank.serial} is in this cabinet already")
        number = board.slots.insert(bank, slot, now_ms).number
        charge = bank.charge_pct if bank.serial else None
        board.record(PowerBankInserted(slot=number, serial=bank.serial, charge_pct=charge), now_ms)
        return number

    def remove(self, slot: int, now_ms: int) -> PowerBank:
        """A bank leaves with no command, by force or by key. Raises NothingToRemove."""
        board = self.board
        bank = board.slots.take(slot, now_ms)
        board.hands.take(bank)
        board.record(PowerBankEjected(slot=slot, serial=bank.serial, charge_pct=bank.charge_pct), now_ms)
        return bank

    def slot_fault(self, number: int, kind: SlotFaultKind, now_ms: int, *, cleared: bool) -> None:
        """Something jams, or works again. Raises CannotInsert when there is no such slot."""
        slot = self.board.slots.get(number)
        if slot is None:
            raise CannotInsert(f"the cabinet has no slot {number}")
        slot.fault = None if cleared else kind
        self.board.record(SlotFault(slot=number, kind=kind, cleared=cleared), now_ms)

    def disconnect(self, now_ms: int, *, for_ms: int | None = None, clean: bool = False) -> None:
        """Leave the network, for good or for `for_ms`. Events wait in the journal."""
        self.uplink.hold(clean=clean)
        self._absences += 1
        absence = self._absences

        def back(due_ms: int) -> None:
            if absence == self._absences:
                self.uplink.resume(due_ms)

        if for_ms is not None:
            self.board.agenda.at(now_ms + for_ms, Scope.WORLD, back)

    def connect(self, now_ms: int) -> None:
        """Undo `disconnect`, whether it was for a time or for good."""
        self._absences += 1
        self.uplink.resume(now_ms)

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

    def shut_down(self, now_ms: int) -> None:
        """A planned end of this simulator: presence says so, and nothing reconnects."""
        self.uplink.shut_down(now_ms)

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
