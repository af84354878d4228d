"""Command bytes, result codes and events of Relink cabinets (relink.md §1.2, §3.2)."""

from enum import IntEnum


class Generation(IntEnum):
    """Decided once, from the login, for the whole connection."""

    ONE = 1
    TWO = 2


class Command(IntEnum):
    LOGIN = 0x60
    HEARTBEAT = 0x61
    VERSION = 0x62
    #: Wrong use strands a cabinet on a dead address: never before a bench test.
    SET_SERVER = 0x63
    INVENTORY = 0x64
    BORROW = 0x65
    RETURN = 0x66
    RESTART = 0x67
    UPGRADE = 0x68
    ICCID = 0x69
    SERVER = 0x6A
    STOCK = 0x6B
    SET_VOLUME = 0x70
    NETWORK = 0x71
    #: The same question in earlier firmware.
    NETWORK_EARLY = 0x72
    SET_APN = 0x73
    APN = 0x74
    VOLUME = 0x77
    #: Same shape and effect as BORROW; for staff.
    EJECT = 0x80
    ABNORMAL = 0x83


#: Of BORROW, EJECT, LOGIN and the first generation's RETURN: 1; anything else is a failure of unknown kind.
RESULT_OK = 1


class ReturnResult(IntEnum):
    """What the backend answers to a return; the first generation knows OK and failure only."""

    FAILED = 0
    OK = 1
    BANK_STATUS_ERROR = 2
    DUPLICATE = 3
    INVALID_ID = 4
    SLOT_NOT_EMPTY = 5


class Event(IntEnum):
    """Of ABNORMAL. Only the first two are in current code, and only the first was captured."""

    #: A bank left, or a slot opened, without an order.
    NO_UNLOCK_COMMAND = 1
    RETURN_WITHOUT_BANK = 2
    MALFUNCTION = 3
    JAMMED = 4
    COMMUNICATION_ERROR = 5
