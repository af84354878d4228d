"""Bounds of the Volinks protocol, each with its reason."""

from typing import Final

#: First byte of every frame.
HEAD: Final = 0xA8
#: Head, length (2), command, check.
MIN_FRAME_BYTES: Final = 5
#: The length is a u16 and counts the whole frame.
MAX_FRAME_BYTES: Final = 0xFFFF

BOARD_BYTES: Final = 6
HOLE_BYTES: Final = 15
#: Boards of one cabinet: the largest seen has 19. Bounds the work that a hostile inventory can cause.
MAX_BOARDS: Final = 32
#: Ways of cutting one inventory that are looked at; a frame with more is refused.
MAX_CUTS: Final = 64
#: Steps from one group to the next that are tried. The largest real frame (364 holes) needs fewer than 4,000.
MAX_CUT_STEPS: Final = 20_000

#: `popup` of the new guide ends here (the old one at 54). Larger cabinets are popped by serial unless it is proven.
MAX_POPUP_HOLE: Final = 80
#: The u32 that stands for "no bank" beside 0.
NO_SERIAL: Final = 0xFFFF_FFFF
#: A command is one small JSON object; texts in it are URLs, names and passwords.
MAX_COMMAND_BYTES: Final = 4096
MAX_TEXT_CHARS: Final = 1024
