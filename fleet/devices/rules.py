"""The life of a command, and what a cabinet's answer makes of it. Pure."""

from typing import Final

from firmware_protocol.types import CommandOutcome
from fleet.common.errors import IllegalTransition
from fleet.devices.models import CommandState

_S = CommandState
#: Evidence outlives verdicts: a late answer that a bank did leave still counts after the command was thought failed.
TRANSITIONS: Final[dict[CommandState, frozenset[CommandState]]] = {
    _S.QUEUED: frozenset({_S.SENT, _S.EXPIRED, _S.CANCELLED}),
    _S.SENT: frozenset({_S.SUCCEEDED, _S.FAILED, _S.EXPIRED, _S.UNKNOWN}),
    _S.UNKNOWN: frozenset({_S.SUCCEEDED, _S.FAILED, _S.EXPIRED, _S.ABANDONED}),
    _S.ABANDONED: frozenset({_S.SUCCEEDED, _S.FAILED, _S.EXPIRED}),
    _S.FAILED: frozenset({_S.SUCCEEDED}),
    _S.EXPIRED: frozenset({_S.SUCCEEDED}),
    _S.SUCCEEDED: frozenset(),
    _S.CANCELLED: frozenset(),
}

STATE_OF: Final[dict[CommandOutcome, CommandState]] = {
    CommandOutcome.SUCCEEDED: _S.SUCCEEDED,
    CommandOutcome.EXPIRED: _S.EXPIRED,
    CommandOutcome.FAILED: _S.FAILED,
    CommandOutcome.UNSUPPORTED: _S.FAILED,
    CommandOutcome.BUSY: _S.FAILED,
    CommandOutcome.INVALID: _S.FAILED,
}


def may(current: CommandState, wanted: CommandState) -> bool:
    return wanted in TRANSITIONS[current]


def check(current: CommandState, wanted: CommandState) -> None:
    """Raises IllegalTransition unless the table holds the move."""
    if not may(current, wanted):
        raise IllegalTransition("command", current, wanted)
