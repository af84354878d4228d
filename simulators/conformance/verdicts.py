"""What became of one requirement, and how a check says so."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

#: Frames shown with a verdict; the newest are those that decided it.
MOST_EVIDENCE: Final = 40


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    #: The cabinet says that it cannot do this, which the protocol allows.
    UNSUPPORTED = "not supported"
    #: It could not be tried here; `why` says what it takes.
    NOT_RUN = "not run"


class Line(Struct, frozen=True, kw_only=True):
    """One requirement of docs/protocol.md, as its number names it."""

    requirement: str
    title: str
    verdict: Verdict
    why: str = ""
    #: Frames in the order in which they passed, as `> topic payload` (to the cabinet) and `< topic payload`.
    evidence: tuple[str, ...] = ()


class BrokenRequirement(Exception):
    """The cabinet does otherwise than the protocol asks."""


class UnsupportedByCabinet(Exception):
    """The cabinet answered that it has nothing of the kind."""


class NotRunHere(Exception):
    """It cannot be tried as things are."""


class CabinetSilent(BrokenRequirement):
    """Nothing was heard of the cabinet at all: nothing else can be tried."""
