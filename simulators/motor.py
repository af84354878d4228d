"""What lets banks go, whoever asks it to."""

from collections.abc import Callable

from simulators.agenda import Scope
from simulators.battery import PowerBank
from simulators.board import Board
from simulators.slots import Slot


class Motor:
    """Counts what it does: a test compares that with the backend's books."""

    def __init__(self, board: Board) -> None:
        self._board = board
        #: The eject under way.
        self.moving: str | None = None
        #: How often it let a bank go.
        self.moves = 0

    def pull(self, slot: Slot, now_ms: int) -> PowerBank:
        """The rider has it. Raises NothingToRemove."""
        self.moves += 1
        bank = self._board.slots.take(slot.number, now_ms)
        self._board.hands.take(bank)
        self._board.dirty = True
        return bank

    def let_go(self, slot: Slot, relock_ms: int, now_ms: int, back: Callable[[PowerBank, int], None]) -> PowerBank:
        """It is released, nobody pulls, and at `relock_ms` it locks again: then `back(bank, now_ms)`."""
        self.moves += 1
        slot.released = bank = self._board.slots.take(slot.number, now_ms)

        def relock(due_ms: int) -> None:
            if slot.released is bank:
                slot.released, slot.bank = None, bank
                self._board.dirty = True
                back(bank, due_ms)

        self._board.agenda.at(relock_ms, Scope.WORLD, relock)
        return bank
