"""What a Volinks cabinet says. Fields are the bytes as they came; properties are what they mean, None when unknown."""

from itertools import chain
from typing import Final

import msgspec
from msgspec import Struct

from firmware_protocol.dialects.volinks.codes import (
    NAMED_ONLY,
    HoleState,
    PopOutcome,
    Revision,
    hole_revision,
    is_returned,
    learn,
    pop_outcome,
    pop_revision,
    return_revision,
)
from firmware_protocol.dialects.volinks.limits import NO_SERIAL

_FULL: Final = 100
_NO_SENSOR: Final = frozenset({0x00, 0xFF})
_UNKNOWN: Final = 0xFF
#: CSQ as modems report it: 0 to 31, 99 for no network.
_SIGNALS: Final = frozenset({*range(32), 99})
_BACKUP_POWER: Final = frozenset(range(4))


def percent(raw: int | None) -> int | None:
    """State of charge in %; a byte above 100 is unknown, not full and not zero."""
    return raw if raw is not None and raw <= _FULL else None


def celsius(raw: int) -> int | None:
    """°C; 00 means no sensor, FF unread."""
    return None if raw in _NO_SENSOR else raw


def tenths(raw: int) -> float | None:
    """V or A from a byte in tenths; FF unread."""
    return None if raw == _UNKNOWN else raw / 10


def serial_number(raw: int) -> int | None:
    """0 and FFFFFFFF stand for no bank, or one that nobody can read."""
    return None if raw in {0, NO_SERIAL} else raw


class BankBytes(Struct, frozen=True, kw_only=True, gc=False):
    """What inventories and self-test reports say of a bank in the same words."""

    area: int = 0
    sn: int = 0
    soc_raw: int = 0
    temp_raw: int = 0
    charge_v_raw: int = 0
    charge_a_raw: int = 0
    soft: int = 0

    @property
    def serial(self) -> int | None:
        return serial_number(self.sn)

    @property
    def soc(self) -> int | None:
        """%"""
        return percent(self.soc_raw)

    @property
    def temp_c(self) -> int | None:
        return celsius(self.temp_raw)

    @property
    def charge_v(self) -> float | None:
        return tenths(self.charge_v_raw)

    @property
    def charge_a(self) -> float | None:
        return tenths(self.charge_a_raw)


class Hole(BankBytes, frozen=True, kw_only=True, gc=False):
    """15 bytes of an inventory. When the state is 0 the cabinet leaves garbage in the other fields: ignore them."""

    hole: int
    state: int
    current_raw: int = 0
    battery_raw: int = 0
    sensor_raw: int = 0

    @property
    def occupied(self) -> bool:
        return self.state != HoleState.EMPTY

    @property
    def rentable(self) -> bool:
        return self.state == HoleState.NORMAL and self.serial is not None

    @property
    def battery_mv(self) -> int | None:
        """The vendor's own tool reads (raw + 200) / 100 V."""
        return (self.battery_raw + 200) * 10 if self.battery_raw else None

    @property
    def micro_switch_open(self) -> bool:
        """Nothing is inserted."""
        return bool(self.sensor_raw & 0x80)

    @property
    def solenoid_open(self) -> bool:
        return bool(self.sensor_raw & 0x40)


class Board(Struct, frozen=True, kw_only=True):
    """One control board and its holes."""

    address: int
    holes: tuple[Hole, ...]
    reserved1: int = 0xFF
    reserved2: int = 0xFF
    temp_raw: int = 0
    soft: int = 0
    hard: int = 0

    @property
    def io(self) -> int | None:
        """The serial port behind the address: hex digits read as decimal, by 50; None with A to F."""
        digits = f"{self.address:x}"
        return int(digits) // 50 if digits.isdecimal() else None


class Inventory(Struct, frozen=True, kw_only=True):
    """0x10. `layout` says how the boards were found: see layout.py. It is not sent."""

    boards: tuple[Board, ...]
    layout: str = "unique"

    @property
    def holes(self) -> tuple[Hole, ...]:
        return tuple(chain.from_iterable(board.holes for board in self.boards))

    @property
    def shape(self) -> tuple[int, ...]:
        """Holes per board: what commissioning keeps."""
        return tuple(len(board.holes) for board in self.boards)

    @property
    def revision(self) -> Revision:
        revision = Revision.UNKNOWN
        for hole in self.holes:
            revision = learn(revision, hole_revision(hole.state))
        return revision


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


#: More digits than any number of a heartbeat has.
_LONG_NUMBER: Final = 10


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
            # As the vendor's parser: first and last character away, cut on commas.
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
