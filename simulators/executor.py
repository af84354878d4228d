"""How a cabinet carries out commands, and every way in which an eject can end."""

from collections.abc import Callable

from firmware_protocol.commands import (
    CollectLogs,
    CommandFrame,
    EjectPowerBank,
    GetConfig,
    LockSlot,
    PlaySound,
    QueryInventory,
    Reboot,
    RotateCredential,
    SetConfig,
    SetVolume,
    ShowScreen,
    UnlockSlot,
    UpdateFirmware,
)
from firmware_protocol.messages import (
    CommandResult,
    Inventory,
    PowerBankEjected,
    PowerBankInserted,
    SlotLocked,
    SlotUnlocked,
)
from firmware_protocol.types import CommandOutcome, ResetCause
from simulators.agenda import Scope
from simulators.battery import PowerBank
from simulators.board import Board
from simulators.errors import Refused
from simulators.faults import FaultKind
from simulators.memory import Remembered
from simulators.motor import Motor
from simulators.outputs import Rotate
from simulators.slots import Slot
from simulators.upkeep import Upkeep

Restart = Callable[[int, ResetCause], None]


class Executor(Motor):
    """One command at a time; never twice for one id; nothing after its deadline."""

    def __init__(self, board: Board, restart: Restart) -> None:
        super().__init__(board)
        self._restart = restart
        self.upkeep = Upkeep(board, restart, lambda: self.moving is not None)

    def execute(self, frame: CommandFrame, now_ms: int) -> None:
        """Carry out, refuse or answer again. What comes before the welcome is ignored: the cabinet must be quiet."""
        board = self._board
        if not board.welcomed:
            return
        if (seen := board.memory.get(frame.command_id)) is not None:
            self._answer_again(seen, now_ms)
            return
        server_ms = board.clock.server(now_ms)
        if server_ms is not None and server_ms > frame.deadline_ms:
            self._finish(frame.command_id, CommandOutcome.EXPIRED, now_ms, code="deadline_passed")
            return
        silent = board.faults.strikes(FaultKind.NO_ANSWER)
        if silent is not None and not (silent.moves and isinstance(frame.command, EjectPowerBank)):
            return
        try:
            if silent is not None and isinstance(frame.command, EjectPowerBank):
                self._give_silently(frame.command_id, frame.command, now_ms)
            else:
                self._carry_out(frame, now_ms)
        except Refused as refused:
            self._finish(frame.command_id, refused.outcome, now_ms, code=refused.code)

    def abandon(self) -> None:
        """The firmware stops in the middle of whatever it was doing."""
        self.moving = None
        self.upkeep.abandon()
        self._board.memory.interrupt()

    def _carry_out(self, frame: CommandFrame, now_ms: int) -> None:  # noqa: C901  # one case a command, each of a line or two
        match frame.command:
            case EjectPowerBank() as eject:
                self._begin_eject(frame.command_id, eject, now_ms)
                return
            case LockSlot(slot=number) | UnlockSlot(slot=number):
                self._lock(number, now_ms, locked=isinstance(frame.command, LockSlot))
            case QueryInventory():
                slots = self._board.slots.inventory(now_ms)
                self._board.record(Inventory(slots=slots, command_id=frame.command_id), now_ms)
            case SetConfig() | GetConfig():
                self.upkeep.configure(frame.command, now_ms)
            case CollectLogs():
                if not self.upkeep.collect(frame.command_id, frame.command, now_ms):
                    return
            case UpdateFirmware():
                if not self.upkeep.begin_update(frame.command_id, frame.command, now_ms):
                    return
            case Reboot():
                self._finish(frame.command_id, CommandOutcome.SUCCEEDED, now_ms)
                # Half a second, so that the result leaves first.
                later = lambda due_ms: self._restart(due_ms, ResetCause.SOFTWARE)  # noqa: E731  # used once, as a value
                self._board.agenda.at(now_ms + 500, Scope.FIRMWARE, later)
                return
            case RotateCredential():
                self._rotate(frame.command_id, frame.command)
                return
            case SetVolume() | PlaySound() | ShowScreen():
                self._board.note(f"{type(frame.command).__name__}", now_ms)
            case _:
                raise Refused(CommandOutcome.UNSUPPORTED, "not_simulated")
        self._finish(frame.command_id, CommandOutcome.SUCCEEDED, now_ms)

    def _begin_eject(self, command_id: str, eject: EjectPowerBank, now_ms: int) -> None:
        board = self._board
        if self.moving is not None:
            raise Refused(CommandOutcome.BUSY, "eject_in_flight")
        slot, bank = board.slots.target(eject.slot, eject.serial)
        others = [other for other in board.slots.with_bank() if other is not slot]
        if others and board.faults.strikes(FaultKind.WRONG_BANK) is not None:
            slot = board.rng.choice(others)
            bank = slot.bank or bank
        board.memory.begin(command_id, slot=slot.number, serial=bank.serial)
        board.dirty = True
        self.moving = command_id
        delay_ms = board.rng.randint(*board.tuning.eject_ms)
        late = board.faults.strikes(FaultKind.LATE_ANSWER)
        if late is not None:
            delay_ms += int(late.delay_s * 1000)
        gone = self.pull(slot, now_ms) if late is not None and late.moves else None
        if delay_ms == 0:
            self._end_eject(command_id, slot, gone, now_ms)
        else:
            board.agenda.at(
                now_ms + delay_ms, Scope.FIRMWARE, lambda due_ms: self._end_eject(command_id, slot, gone, due_ms)
            )

    def _end_eject(self, command_id: str, slot: Slot, gone: PowerBank | None, now_ms: int) -> None:
        """`gone`: the bank left earlier and only the report was late."""
        self.moving = None
        board = self._board
        if (power_cut := board.faults.strikes(FaultKind.REBOOT_MID_COMMAND)) is not None:
            if power_cut.moves and gone is None and slot.bank is not None:
                self.pull(slot, now_ms)
            board.memory.interrupt(silent=power_cut.silent)
            self._restart(now_ms, ResetCause.BROWNOUT)
            return
        if gone is None and slot.bank is None:
            self._finish(command_id, CommandOutcome.FAILED, now_ms, code="slot_empty")
            return
        failed = board.faults.strikes(FaultKind.FAILED_EJECT)
        if failed is not None and not (failed.moves or gone):
            self._finish(command_id, CommandOutcome.FAILED, now_ms, code=failed.code)
            return
        not_taken = board.faults.strikes(FaultKind.NOT_TAKEN) if gone is None else None
        if not_taken is not None:
            relock_ms = now_ms + int(not_taken.delay_s * 1000)
            bank = self.let_go(slot, relock_ms, now_ms, lambda bank, due_ms: self._relocked(slot, bank, due_ms))
        else:
            bank = gone or self.pull(slot, now_ms)
        self._left(command_id, slot, bank, now_ms)
        if failed is not None:
            self._finish(command_id, CommandOutcome.FAILED, now_ms, slot=slot.number, code=failed.code)
        else:
            self._finish(command_id, CommandOutcome.SUCCEEDED, now_ms, slot=slot.number, serial=bank.serial)

    def _relocked(self, slot: Slot, bank: PowerBank, now_ms: int) -> None:
        charge = bank.charge_pct if bank.serial else None
        self._board.record(PowerBankInserted(slot=slot.number, serial=bank.serial, charge_pct=charge), now_ms)

    def _left(self, command_id: str, slot: Slot, bank: PowerBank, now_ms: int) -> None:
        left = PowerBankEjected(slot=slot.number, serial=bank.serial, charge_pct=bank.charge_pct, command_id=command_id)
        self._board.record(left, now_ms)

    def _finish(
        self,
        command_id: str,
        outcome: CommandOutcome,
        now_ms: int,
        *,
        slot: int | None = None,
        serial: str | None = None,
        code: str | None = None,
    ) -> None:
        result = CommandResult(command_id=command_id, outcome=outcome, slot=slot, serial=serial, code=code)
        self._board.memory.finish(result)
        self._board.record(result, now_ms)
        self._board.note(f"command {command_id} {outcome} {code or ''}", now_ms)

    def refuse_unknown(self, command_id: str | None, now_ms: int) -> None:
        """A command of a type that this firmware does not know (8.7); one without an id cannot be answered."""
        if command_id is None or not self._board.welcomed:
            return
        if (seen := self._board.memory.get(command_id)) is not None:
            self._answer_again(seen, now_ms)
            return
        self._finish(command_id, CommandOutcome.UNSUPPORTED, now_ms)

    def _answer_again(self, seen: Remembered, now_ms: int) -> None:
        """A repeated id: the remembered result; one that a restart cut off is settled by what the slot shows now."""
        if seen.result is not None:
            self._board.record(seen.result, now_ms)
            return
        if seen.interrupted:
            self._settle(seen, now_ms)

    def settle_interrupted(self, now_ms: int) -> None:
        """After the welcome: say how the ejects ended that a restart cut off (8.2.3)."""
        for seen in self._board.memory.unsettled():
            self._settle(seen, now_ms)

    def _settle(self, seen: Remembered, now_ms: int) -> None:
        slot = None if seen.slot is None else self._board.slots.get(seen.slot)
        if slot is None or (slot.bank is not None and slot.bank.serial == seen.serial):
            self._finish(seen.command_id, CommandOutcome.FAILED, now_ms, code="interrupted")
            return
        left = PowerBankEjected(slot=slot.number, serial=seen.serial, command_id=seen.command_id)
        self._board.record(left, now_ms)
        self._finish(seen.command_id, CommandOutcome.SUCCEEDED, now_ms, slot=slot.number, serial=seen.serial)

    def _give_silently(self, command_id: str, eject: EjectPowerBank, now_ms: int) -> None:
        slot, bank = self._board.slots.target(eject.slot, eject.serial)
        self._board.memory.begin(command_id, slot=slot.number, serial=bank.serial, interrupted=True)
        self.pull(slot, now_ms)

    def _lock(self, number: int, now_ms: int, *, locked: bool) -> None:
        slot = self._board.slots.get(number)
        if slot is None:
            raise Refused(CommandOutcome.INVALID, "no_such_slot")
        slot.locked = locked
        self._board.record(SlotLocked(slot=number) if locked else SlotUnlocked(slot=number), now_ms)

    def _rotate(self, command_id: str, wanted: RotateCredential) -> None:
        if self._board.station.claim is None:
            raise Refused(CommandOutcome.UNSUPPORTED, "no_credential")
        self._board.memory.begin(command_id)
        self._board.outputs.append(Rotate(command_id, wanted.url, wanted.token))

    def rotated(self, command_id: str, now_ms: int, *, done: bool) -> None:
        """The exchange for a new credential has ended."""
        if done:
            self._finish(command_id, CommandOutcome.SUCCEEDED, now_ms)
        else:
            self._finish(command_id, CommandOutcome.FAILED, now_ms, code="not_exchanged")

    def brought(self, command_id: str, left: tuple[int, ...], now_ms: int) -> None:
        """A log was brought over HTTP; pieces `left` go as messages."""
        if self.upkeep.brought(command_id, left, now_ms):
            self._finish(command_id, CommandOutcome.SUCCEEDED, now_ms)

    def fetched(self, command_id: str, size: int, sha256: str, now_ms: int) -> None:
        """A download has ended: the update goes on, or is answered with what is wrong."""
        if not self.upkeep.waits_for(command_id):
            return
        code = self.upkeep.fetched(command_id, size, sha256, now_ms)
        outcome = CommandOutcome.SUCCEEDED if code is None else CommandOutcome.FAILED
        self._finish(command_id, outcome, now_ms, code=code)
