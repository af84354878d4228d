"""Application acknowledgements: what a cabinet may forget, said at once when there is time and seldom when not."""

from time import monotonic
from typing import Final

from device_gateway import dialects
from device_gateway.directory import Directory
from firmware_protocol.commands import Ack
from firmware_protocol.dialect import Published

#: Under load a cabinet hears of its events this late; its journal holds hundreds.
LATEST_S: Final = 5.0


class Acks:
    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        #: (station code, boot) → (through, since when it waits to be said).
        self._waiting: dict[tuple[str, int], tuple[int, float]] = {}

    def add(self, acks: dict[tuple[str, int], int]) -> None:
        now = monotonic()
        waiting = self._waiting
        for key, through in acks.items():
            known = waiting.get(key)
            waiting[key] = (through, now if known is None else known[1])

    def due(self, *, idle: bool) -> list[Published]:
        """What is to be sent now: everything when idle, otherwise only what has waited long."""
        if not self._waiting:
            return []
        if idle:
            chosen, self._waiting = self._waiting, {}
        else:
            before = monotonic() - LATEST_S
            chosen = {key: value for key, value in self._waiting.items() if value[1] <= before}
            for key in chosen:
                del self._waiting[key]
        return [message for key, value in chosen.items() if (message := self._ack(key, value[0])) is not None]

    def _ack(self, key: tuple[str, int], through: int) -> Published | None:
        ref = self._directory.get(key[0])
        if ref is None:
            return None
        dialect = dialects.DIALECTS.get(ref.dialect)
        if dialect is None or not dialect.capabilities.journal:
            return None
        return dialect.encode_control(ref.code, Ack(boot=key[1], through=through))
