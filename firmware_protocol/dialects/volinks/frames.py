"""What a Volinks cabinet says. Fields are the bytes as they came; properties are what they mean, None when unknown."""

from typing import Final

import msgspec
from msgspec import Struct

from firmware_protocol.dialects.volinks.boards import Inventory
from firmware_protocol.dialects.volinks.codes import (
    NAMED_ONLY,
    PopOutcome,
    Revision,
    is_returned,
    pop_outcome,
    pop_revision,
    return_revision,
)
from firmware_protocol.dialects.volinks.values import BankBytes, percent, serial_number

#: CSQ as modems report it: 0 to 31, 99 for no network.
_SIGNALS: Final = frozenset({*range(32), 99})
_BACKUP_POWER: Final = frozenset(range(4))
#: More digits than any number of a heartbeat has.
_LONG_NUMBER: Final = 10


class PopByHoleResult(Struct, frozen=True, kw_only=True):
    """0x21. `solenoid` is a trace for engineers and decides nothing; `extra` is padding that some senders add."""

    board: int
    hole: int
    state: int
    solenoid: int = 0
    extra: bytes = b""

    @property
    def outcome(self) -> PopOutcome:
        return pop_outcome(self.state)


class PopBySerialResult(Struct, frozen=True, kw_only=True):
    """0x31. `byte4` is a hole (new guide) or a board (old guide): never take the hole from it."""

    byte4: int
    sn: int
    state: int
    byte10: int = 0
    extra: bytes = b""

    @property
    def serial(self) -> int | None:
        return serial_number(self.sn)

    @property
    def outcome(self) -> PopOutcome:
        return pop_outcome(self.state)

    @property
    def revision(self) -> Revision:
        return pop_revision(self.state)


class ReturnResult(Struct, frozen=True, kw_only=True):
    """0x40. `soft` None: the 13-byte form; `soc_raw` None: the 14-byte form; both: 15 bytes."""

    board: int
    hole: int
    area: int
    sn: int
    state: int
    soft: int | None = None
    soc_raw: int | None = None

    @property
    def variant(self) -> int:
        """Bytes of the whole frame."""
        return 13 + (self.soft is not None) + (self.soc_raw is not None)

    @property
    def serial(self) -> int | None:
        return serial_number(self.sn)

    @property
    def soc(self) -> int | None:
        """%"""
        return percent(self.soc_raw)

    @property
    def returned(self) -> bool:
        return is_returned(self.state)

    @property
    def revision(self) -> Revision:
        return return_revision(self.state)


class SelfTestReturn(BankBytes, frozen=True, kw_only=True, gc=False):
    """0x28: found in a hole by the self-test, so the true time of return is unknown and earlier.

    Sources disagree about bytes 7, 8 and 19; they are kept and not read.
    """

    board: int
    hole: int
    state: int
    byte7: int = 0
    byte8: int = 0
    byte19: int = 0
    extra: bytes = b""

    @property
    def returned(self) -> bool:
        return is_returned(self.state)

    @property
    def revision(self) -> Revision:
        return return_revision(self.state)


class Heartbeat(Struct, frozen=True, kw_only=True):
    """0x7A. The cabinet wants to hear it back from the broker; whoever else listens must not send it again."""

    board: int
    data: bytes = b""

    @property
    def text(self) -> str:
        return self.data.decode("ascii", errors="replace")

    @property
    def csq(self) -> int | None:
        """0 to 31, 99 for no network."""
        return self._number("CSQ", _SIGNALS)

    @property
    def bp(self) -> int | None:
        """Backup power: 0 none, 1 invalid, 2 idle, 3 running."""
        return self._number("BP", _BACKUP_POWER)

    def _number(self, key: str, allowed: frozenset[int]) -> int | None:
        for item in self.text.split(";"):
            name, _, value = item.partition(":")
            digits = value.strip()
            if name.strip().upper() == key and digits.isascii() and digits.isdecimal() and len(digits) < _LONG_NUMBER:
                return int(digits) if int(digits) in allowed else None
        return None


class WifiScan(Struct, frozen=True, kw_only=True):
    """0xCF: text that is a JSON array of names, or looks like one."""

    data: bytes = b""

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", errors="replace")

    @property
    def ssids(self) -> tuple[str, ...]:
        text = self.text
        try:
            return tuple(msgspec.json.decode(text, type=list[str]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            # As the vendor's parser: first and last character away, cut on commas. Where nothing is left is no name.
            names = (name.strip().strip('"') for name in text.strip()[1:-1].split(","))
            return tuple(name for name in names if name)


class NamedFrame(Struct, frozen=True, kw_only=True):
    """A command that has a name and no known layout: to be logged and ignored, no fault of the cabinet."""

    command: int
    data: bytes = b""

    @property
    def name(self) -> str:
        return NAMED_ONLY[self.command]


UpFrame = (
    Inventory | PopByHoleResult | PopBySerialResult | ReturnResult | SelfTestReturn | Heartbeat | WifiScan | NamedFrame
)
