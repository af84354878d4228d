"""What the state bytes of Volinks frames mean (volinks.md §4.3, §5.3, §6.2)."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class Revision(StrEnum):
    """Of the vendor's guide. The same code can mean opposite things in the two."""

    OLD = "old"
    NEW = "new"
    UNKNOWN = "unknown"


class PopOutcome(StrEnum):
    DISPENSED = "dispensed"
    #: This command moved nothing. An earlier copy of it may have: ask for the inventory before refunding or repeating.
    NOT_DISPENSED = "not_dispensed"
    #: Only an inventory taken 5 s later can tell.
    UNCERTAIN = "uncertain"


class HoleState(IntEnum):
    """Only NORMAL is rentable; everything but EMPTY is occupied. Other values are reserved by the vendor."""

    EMPTY = 0x00
    NORMAL = 0x01
    CHARGING_ABNORMAL = 0x02
    COMMUNICATION_FAILURE = 0x03
    STUCK = 0x04
    FORCED = 0x05
    SOLENOID = 0x06
    RESERVED = 0x07
    ANTI_THEFT = 0x08
    SHORT_CIRCUIT = 0x09
    NOT_PUSHED_OUT = 0x0A


class PopState(IntEnum):
    """Codes whose meaning both revisions or the new one state. Others exist: see `pop_outcome`."""

    FAILED = 0x00
    OK = 0x01
    SERIAL_TIMEOUT = 0x11
    #: New guide: not popped, serial still readable. Old guide: popped, serial still readable.
    SERIAL_STILL_READABLE = 0x12
    NO_TIME = 0x87
    TTL_EXCEEDED = 0x88
    NO_BANK_QUALIFIES = 0xFB
    SERIAL_NOT_FOUND = 0xFC
    NOT_QUEUED = 0xFD
    PREVIOUS_RUNNING = 0xFE
    NOT_PARSED = 0xFF


class ReturnState(IntEnum):
    FAILED = 0x00
    OK = 0x01
    PUSHED_OUT_AGAIN = 0x02
    #: Returned, but the micro-switch was not seen.
    OK_SWITCH_UNSEEN = 0x03
    MOTOR_NOT_HOME = 0x06
    AREA_ERROR = 0x10
    SERIAL_UNREAD = 0x11
    INFO_UNREAD = 0x12
    VERSION_UNREAD = 0x13
    LOCK_FAILED = 0x14
    SERIAL_UNREAD_MOTOR_FAILED = 0x21
    INFO_UNREAD_MOTOR_FAILED = 0x22
    LOCK_AND_MOTOR_FAILED = 0x23
    #: A self-test report (0x28) follows within 5 minutes.
    ANTI_THEFT_CHECK_FAILED = 0x24


_NOT_DISPENSED: Final = frozenset({0x00, 0x87, 0x88, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF})
_POP_NEW: Final = frozenset({0x87, 0x88, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF})
_POP_OLD: Final = frozenset({0x02, 0x03, 0x04, 0x05, 0x06, 0x08, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24})
_RETURN_OLD: Final = frozenset({0x02, 0x03, 0x06})
_RETURN_NEW: Final = frozenset({0x10, 0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24})
_HOLE_NEW: Final = frozenset({0x08, 0x09, 0x0A})

#: Commands that the vendor's log names and nobody has described. They are logged and ignored.
NAMED_ONLY: Final[Mapping[int, str]] = MappingProxyType(
    {
        0x14: "full report after connect",
        0x16: "pre-rental query",
        0x18: "4G heartbeat frequency",
        0x1A: "version",
        0x1E: "rotation configuration",
        0x20: "serial-side pop by index",
        0x26: "self-check interval",
        0x29: "return (server-side variant)",
        0x2A: "solenoid check",
        0x2C: "area code",
        0x2E: "head code",
        0x30: "serial-side pop by serial",
        0x32: "configuration",
        0x34: "APN",
        0x36: "configuration",
        0x38: "lock hole",
        0x3A: "FOTA",
        0x70: "reset adapter",
        0x72: "reset 4G",
        0x7C: "ping",
        0x7D: "ping",
        0x80: "reset movement",
        0xA0: "network time",
        0xA2: "logs",
        0xA4: "logs",
        0xA8: "self-check report",
        0xB0: "upgrade",
        0xB1: "upgrade",
        0xB4: "upgrade",
        0xB6: "upgrade",
        0xB8: "upgrade",
        0xC0: "upload logs",
        0xD1: "movement serial",
        0xE0: "unnamed",
        0xF0: "unnamed",
    }
)


def pop_outcome(state: int) -> PopOutcome:
    """The safe reading of a pop result in either revision (volinks.md §5.3)."""
    if state == PopState.OK:
        return PopOutcome.DISPENSED
    return PopOutcome.NOT_DISPENSED if state in _NOT_DISPENSED else PopOutcome.UNCERTAIN


def pop_revision(state: int) -> Revision:
    """Which guide has this code of a 0x31; 00, 01, 11 and 12 prove nothing."""
    return _revision(state, _POP_OLD, _POP_NEW)


def return_revision(state: int) -> Revision:
    """Which guide has this code of a 0x40 or 0x28; 00 and 01 prove nothing."""
    return _revision(state, _RETURN_OLD, _RETURN_NEW)


def hole_revision(state: int) -> Revision:
    """Hole states prove the new guide only (08, 09, 0A)."""
    return Revision.NEW if state in _HOLE_NEW else Revision.UNKNOWN


def learn(known: Revision, seen: Revision) -> Revision:
    """What to remember of a cabinet after a code: a code that proves nothing leaves what was known."""
    return known if seen is Revision.UNKNOWN else seen


def is_returned(state: int) -> bool:
    """The cabinet says that it took the bank: 01, and 03 of the old guide (taken, micro-switch not seen).

    False does not mean that the bank is outside: after 10 to 24 it may be in the hole, and an inventory decides.
    """
    return state in {ReturnState.OK, ReturnState.OK_SWITCH_UNSEEN}


def _revision(state: int, old: frozenset[int], new: frozenset[int]) -> Revision:
    if state in new:
        return Revision.NEW
    return Revision.OLD if state in old else Revision.UNKNOWN
