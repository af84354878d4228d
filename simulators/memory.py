"""The last commands a cabinet saw, so that a repeated one moves nothing. Kept in flash, written before metal moves."""

from collections.abc import Iterable

from msgspec import Struct

from firmware_protocol.limits import REMEMBERED_COMMANDS
from firmware_protocol.messages import CommandResult


class Remembered(Struct, kw_only=True):
    """`result` None: begun and not finished; `slot`, `serial` then say what was about to move.

    `interrupted`: the firmware restarted in between, so that nobody will finish it. `silent`: and will not say so
    unless the command is repeated.
    """

    command_id: str
    slot: int | None = None
    serial: str | None = None
    result: CommandResult | None = None
    interrupted: bool = False
    silent: bool = False


class CommandMemory:
    """The youngest REMEMBERED_COMMANDS ids."""

    def __init__(self, remembered: Iterable[Remembered] = ()) -> None:
        self._by_id = {item.command_id: item for item in remembered}

    def get(self, command_id: str) -> Remembered | None:
        return self._by_id.get(command_id)

    def begin(
        self, command_id: str, *, slot: int | None = None, serial: str | None = None, interrupted: bool = False
    ) -> None:
        """Before anything moves. `interrupted`: and nobody will ever say how it ended, unless asked."""
        self._by_id[command_id] = Remembered(
            command_id=command_id, slot=slot, serial=serial, interrupted=interrupted, silent=interrupted
        )
        while len(self._by_id) > REMEMBERED_COMMANDS:
            del self._by_id[next(iter(self._by_id))]

    def finish(self, result: CommandResult) -> None:
        if result.command_id not in self._by_id:
            self.begin(result.command_id, slot=result.slot, serial=result.serial)
        self._by_id[result.command_id].result = result

    def interrupt(self, *, silent: bool = False) -> None:
        """The firmware restarts: what has begun will not be finished."""
        for item in self._by_id.values():
            if item.result is None and not item.interrupted:
                item.interrupted, item.silent = True, silent

    def unsettled(self) -> list[Remembered]:
        """What a restart cut off and the cabinet owes an answer to."""
        return [item for item in self._by_id.values() if item.interrupted and item.result is None and not item.silent]

    def snapshot(self) -> list[Remembered]:
        """For the state file."""
        return list(self._by_id.values())
