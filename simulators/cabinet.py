"""A cabinet that speaks the Voltbay Device Protocol."""

from firmware_protocol.commands import Ack, CommandFrame, Resend, Welcome
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.errors import ProtocolError, UnknownMessageType
from firmware_protocol.messages import PowerBankEjected, PowerBankInserted, SlotFault
from firmware_protocol.topics import DownKind, down
from firmware_protocol.types import ResetCause, SlotFaultKind
from simulators.agenda import Scope
from simulators.base import AnyCabinet
from simulators.battery import PowerBank
from simulators.executor import Executor
from simulators.hands import Hands
from simulators.slots import Slot
from simulators.spec import StationSpec
from simulators.tuning import Tuning
from simulators.uplink import Phase, Uplink


class Cabinet(AnyCabinet):
    """Journal, boot gate, commands with ids: see base.py for what the driver does with it."""

    def __init__(self, station: StationSpec, tuning: Tuning, hands: Hands, seed: int, now_ms: int) -> None:
        super().__init__(station, tuning, hands, seed, now_ms)
        self.uplink = Uplink(self.board)
        self.executor: Executor = Executor(self.board, self.restart)

    @property
    def phase(self) -> Phase:
        return self.uplink.phase

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
        board = self.board
        self.uplink.hang_up(clean=False)
        board.agenda.cancel(Scope.FIRMWARE)
        self.executor.abandon()
        board.running = False
        board.reset_cause = cause
        board.dirty = True
        board.agenda.at(now_ms + board.rng.randint(*board.tuning.reboot_ms), Scope.FIRMWARE, self.power_on)

    def opened(self, now_ms: int) -> None:
        self.uplink.opened(now_ms)

    def closed(self, now_ms: int) -> None:
        self.uplink.closed(now_ms)

    def received(self, topic: str, payload: bytes, content_type: str | None, now_ms: int) -> None:
        try:
            message = NATIVE.decode_down(topic, payload, content_type)
        except ProtocolError as error:
            self.unreadable += 1
            self.board.note(f"unreadable {error.code}", now_ms)
            if isinstance(error, UnknownMessageType) and topic == down(self.board.station.code, DownKind.COMMAND):
                self.executor.refuse_unknown(NATIVE.command_id(payload, content_type), now_ms)
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

    def rotated(self, command_id: str, now_ms: int, *, done: bool) -> None:
        """A new credential has come, or could not be had."""
        self.executor.rotated(command_id, now_ms, done=done)

    def fetched(self, command_id: str, size: int, sha256: str, now_ms: int) -> None:
        """The download asked for by `Fetch` has ended; `size` 0: it could not be had."""
        self.executor.fetched(command_id, size, sha256, now_ms)

    def brought(self, command_id: str, left: tuple[int, ...], now_ms: int) -> None:
        """The upload asked for by `BringLog` has ended; pieces `left` did not get there."""
        self.executor.brought(command_id, left, now_ms)

    def inserted(self, slot: Slot, bank: PowerBank, now_ms: int) -> None:
        charge = bank.charge_pct if bank.serial else None
        self.board.record(PowerBankInserted(slot=slot.number, serial=bank.serial, charge_pct=charge), now_ms)

    def removed(self, slot: int, bank: PowerBank, now_ms: int) -> None:
        self.board.record(PowerBankEjected(slot=slot, serial=bank.serial, charge_pct=bank.charge_pct), now_ms)

    def jammed(self, slot: Slot, kind: SlotFaultKind, now_ms: int, *, cleared: bool) -> None:
        self.board.record(SlotFault(slot=slot.number, kind=kind, cleared=cleared), now_ms)

    def hold(self, *, clean: bool) -> None:
        """Events wait in the journal."""
        self.uplink.hold(clean=clean)

    def resume(self, now_ms: int) -> None:
        self.uplink.resume(now_ms)

    def shut_down(self, now_ms: int) -> None:
        """Presence says so, and nothing reconnects."""
        self.uplink.shut_down(now_ms)
