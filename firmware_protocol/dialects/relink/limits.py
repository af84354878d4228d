"""Bounds and constants of the Relink protocol, each with its reason."""

from typing import Final

#: Length (2), command, version, check, token (4).
HEADER_BYTES: Final = 9
#: Where a frame's command is.
COMMAND_AT: Final = 2
#: The length does not count itself: a frame without payload says 7.
LENGTH_BYTES: Final = 2
MIN_LENGTH: Final = HEADER_BYTES - LENGTH_BYTES
#: A whole frame. A login with 48 banks has about 860 bytes; the known server stops here too.
MAX_FRAME_BYTES: Final = 1024

BANK_ID_BYTES: Final = 8
COARSE_RECORD_BYTES: Final = 10
RECORD_BYTES: Final = 17

#: First generation: every frame carries this token, and no cabinet checks it.
CONSTANT_TOKEN: Final = bytes.fromhex("11223344")
VERSION_1: Final = 1
VERSION_2: Final = 2
MAGIC_1: Final = 0x0233
MAGIC_2: Final = 0xA0A0

MAX_VOLUME: Final = 15
#: A bank below this voltage is dead or unread: those that were seen report 2,010 mV, the lowest raw reading.
MIN_RENTABLE_MV: Final = 3000
#: Texts are box ids, addresses and numbers of SIM cards.
MAX_TEXT_BYTES: Final = 255
