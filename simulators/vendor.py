"""What all vendors' cabinets have in common: no journal, no boot gate, no command ids, nothing is acknowledged."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from firmware_protocol.dialect import Published
from firmware_protocol.types import ResetCause
from simulators.agenda import Scope
from simulators.base import AnyCabinet
from simulators.battery import PowerBank
from simulators.faults import Fault, FaultKind
from simulators.hands import Hands
from simulators.motor import Motor
from simulators.outputs import Hangup, HttpCall, Opening
from simulators.slots import Slot
from simulators.spec import StationSpec
from simulators.tuning import Tuning
from simulators.uplink import Phase

#: 2**tries stops growing here; the cap on the delay is reached long before.
_MAX_TRIES: Final = 16
_OPEN: Final = frozenset({Phase.CONNECTING, Phase.GATED, Phase.WELCOMED})


class Ending(Struct, frozen=True, kw_only=True):
    """How an eject ended. `code` None: as the fault-free machine says it."""

    slot: Slot
    #: Whose departure is reported; None: nothing left, as far as the cabinet says.
    bank: PowerBank | None
    code: int | None = None


Answer = Callable[[Ending, int], None]


class VendorCabinet(AnyCabinet):
    """The connection and the motor; subclasses say what is on the wire.

    A subclass gives `opening` (what to connect with), `greet` (what to do once connected), `received`, `inserted`,
    `removed` and `jammed`. Events that happen while there is no connection are lost, as with the real ones.
    """

    def __init__(self, station: StationSpec, tuning: Tuning, hands: Hands, seed: int, now_ms: int) -> None:
        super().__init__(station, tuning, hands, seed, now_ms)
        self.executor = Motor(self.board)
        self._phase = Phase.IDLE
        self._held = False
        self._tries = 0

    @property
    def phase(self) -> Phase:
        return self._phase

    @abstractmethod
    def opening(self, now_ms: int) -> Opening | HttpCall:
        """What to connect with, or what to ask first; the answer to that calls `connect_with`."""

    @abstractmethod
    def greet(self, now_ms: int) -> None:
        """The connection is up: say what is to be said, and call `ready` when the backend may speak."""

    def answered(self, call: HttpCall, status: int, text: str, now_ms: int) -> None:
        """The answer to an HTTP call; status 0 when nobody answered."""

    def power_on(self, now_ms: int) -> None:
        board = self.board
        board.boot += 1
        board.booted_ms = now_ms
        board.running = board.dirty = True
        board.note(f"boot {board.boot} {board.reset_cause}", now_ms)
        self._connect_in(0, now_ms)

    def restart(self, now_ms: int, cause: ResetCause = ResetCause.SOFTWARE) -> None:
        board = self.board
        self.hang_up(clean=False)
        board.agenda.cancel(Scope.FIRMWARE)
        self.executor.moving = None
        board.running = False
        board.reset_cause = cause
        board.dirty = True
        board.agenda.at(now_ms + board.rng.randint(*board.tuning.reboot_ms), Scope.FIRMWARE, self.power_on)

    def opened(self, now_ms: int) -> None:
        if self._phase is Phase.CONNECTING:
            self._phase = Phase.GATED
            self.greet(now_ms)

    def ready(self) -> None:
        """The backend may speak, and is heard."""
        self._phase = Phase.WELCOMED
        self._tries = 0

    def closed(self, now_ms: int) -> None:
        if self._phase in {Phase.IDLE, Phase.WAITING}:
            return
        self._down()
        self.try_again(now_ms)

    def try_again(self, now_ms: int) -> None:
        """After a failed or broken connection, with full jitter."""
        self._tries = min(self._tries + 1, _MAX_TRIES)
        tuning = self.board.tuning
        longest_s = min(tuning.backoff_cap_s, tuning.backoff_base_s * 2**self._tries)
        self._connect_in(int(self.board.rng.uniform(0, longest_s) * 1000), now_ms)

    def connect_with(self, opening: Opening) -> None:
        self._phase = Phase.CONNECTING
        self.board.outputs.append(opening)

    def hang_up(self, *, clean: bool) -> None:
        """End the session from this side; nothing reconnects by itself."""
        if self._phase in _OPEN:
            self.board.outputs.append(Hangup(clean=clean))
        self._down()

    def hold(self, *, clean: bool) -> None:
        self._held = True
        self.hang_up(clean=clean)

    def resume(self, now_ms: int) -> None:
        self._held = False
        if self._phase is Phase.IDLE and self.board.running:
            self._connect_in(0, now_ms)

    def shut_down(self, now_ms: int) -> None:
        del now_ms  # there is nothing to say: these cabinets have no presence of their own
        self.hold(clean=True)

    def send(self, message: Published) -> None:
        """To the network, if there is one."""
        if self._phase in {Phase.GATED, Phase.WELCOMED}:
            self.board.outputs.append(message)

    def eject(self, slot: Slot, answer: Answer, now_ms: int) -> None:
        """Turn the motor of `slot`, which holds a bank, and say how it ended, unless a fault has it otherwise."""
        board = self.board
        others = [other for other in board.slots.with_bank() if other is not slot]
        if others and board.faults.strikes(FaultKind.WRONG_BANK) is not None:
            slot = board.rng.choice(others)
        silent = board.faults.strikes(FaultKind.NO_ANSWER)
        if silent is not None and not silent.moves:
            return
        delay_ms = board.rng.randint(*board.tuning.eject_ms)
        late = board.faults.strikes(FaultKind.LATE_ANSWER)
        if late is not None:
            delay_ms += int(late.delay_s * 1000)
        gone = self.executor.pull(slot, now_ms) if late is not None and late.moves else None
        self.executor.moving = str(slot.number)
        board.agenda.at(
            now_ms + delay_ms,
            Scope.FIRMWARE,
            lambda due_ms: self._end(slot, gone, _nothing if silent else answer, due_ms),
        )
        if delay_ms == 0:
            board.agenda.run(now_ms)

    def _end(self, slot: Slot, gone: PowerBank | None, answer: Answer, now_ms: int) -> None:
        """`gone`: the bank left earlier and only the report was late."""
        board, motor = self.board, self.executor
        motor.moving = None
        power_cut = board.faults.strikes(FaultKind.REBOOT_MID_COMMAND)
        if power_cut is not None:
            if power_cut.moves and slot.bank is not None:
                motor.pull(slot, now_ms)
            self.restart(now_ms, ResetCause.BROWNOUT)
            return
        if gone is None and slot.bank is None:
            answer(Ending(slot=slot, bank=None), now_ms)
            return
        told = self._told(slot)
        if told is not None and not (told.moves or gone):
            answer(Ending(slot=slot, bank=None, code=_code(told)), now_ms)
            return
        not_taken = board.faults.strikes(FaultKind.NOT_TAKEN) if gone is None else None
        if not_taken is not None:
            relock_ms = now_ms + int(not_taken.delay_s * 1000)
            bank = motor.let_go(slot, relock_ms, now_ms, lambda bank, due_ms: self.inserted(slot, bank, due_ms))
        else:
            bank = gone or motor.pull(slot, now_ms)
        said = None if told is not None and told.kind is FaultKind.FAILED_EJECT else bank
        answer(Ending(slot=slot, bank=said, code=None if told is None else _code(told)), now_ms)

    def _told(self, slot: Slot) -> Fault | None:
        """The fault that makes the eject fail, or look as if; a jammed slot fails by itself."""
        faults = self.board.faults
        told = faults.strikes(FaultKind.RESULT_CODE) or faults.strikes(FaultKind.FAILED_EJECT)
        return told or (Fault(kind=FaultKind.FAILED_EJECT) if slot.fault is not None else None)

    def _connect_in(self, delay_ms: int, now_ms: int) -> None:
        if not self._held:
            self._phase = Phase.WAITING
            self.board.agenda.at(now_ms + delay_ms, Scope.FIRMWARE, self._connect)

    def _connect(self, now_ms: int) -> None:
        if self._held or self._phase is not Phase.WAITING:
            return
        opening = self.opening(now_ms)
        if isinstance(opening, HttpCall):
            self.board.outputs.append(opening)
        else:
            self.connect_with(opening)

    def _down(self) -> None:
        self._phase = Phase.IDLE
        self.board.link_down()


def _nothing(_ending: Ending, _now_ms: int) -> None:
    """Nobody is told."""


def _code(fault: Fault) -> int | None:
    return fault.result if fault.kind is FaultKind.RESULT_CODE else None
