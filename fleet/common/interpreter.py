"""The interpreter as processes of several threads want it: quick turns, and a collector that finds nothing to do."""

import gc
import sys
from typing import Final

#: A thread that has an answer of PostgreSQL or a packet in hand waits at most this long for one that computes; the
#: interpreter's own 5 ms would be the larger part of an eject's way through a process.
_TURN_S: Final = 0.001
#: Frames and rows hold no cycles. A collection looks at every object of a batch and, with the default of 700, comes
#: several times a batch and looks at everything remembered of the fleet every now and then.
_YOUNG: Final = 50_000


def tune() -> None:
    """Once, when everything is imported and built."""
    sys.setswitchinterval(_TURN_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 100)
