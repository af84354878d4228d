"""The life of a rollout and of its targets, as tables; when to halt, how fast to go, who comes first. Pure."""

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from fleet.common.errors import IllegalTransition
from fleet.devices.firmware.models import RolloutState, TargetState

_R = RolloutState
_T = TargetState


class Action(StrEnum):
    """What a person may do with a rollout."""

    APPROVE = "approve"
    PAUSE = "pause"
    RESUME = "resume"
    NEXT_GROUP = "next_group"
    ABORT = "abort"


#: By a person.
ACTIONS: Final[dict[tuple[RolloutState, Action], RolloutState]] = {
    (_R.DRAFT, Action.APPROVE): _R.RUNNING,
    (_R.DRAFT, Action.ABORT): _R.ABORTED,
    (_R.RUNNING, Action.PAUSE): _R.PAUSED,
    (_R.RUNNING, Action.NEXT_GROUP): _R.RUNNING,
    (_R.RUNNING, Action.ABORT): _R.ABORTED,
    (_R.PAUSED, Action.RESUME): _R.RUNNING,
    (_R.PAUSED, Action.ABORT): _R.ABORTED,
    (_R.HALTED, Action.RESUME): _R.RUNNING,
    (_R.HALTED, Action.ABORT): _R.ABORTED,
    (_R.WAITING, Action.PAUSE): _R.PAUSED,
    (_R.WAITING, Action.NEXT_GROUP): _R.RUNNING,
    (_R.WAITING, Action.ABORT): _R.ABORTED,
}
#: By itself.
TRANSITIONS: Final[dict[RolloutState, frozenset[RolloutState]]] = {
    _R.DRAFT: frozenset(),
    _R.RUNNING: frozenset({_R.HALTED, _R.WAITING, _R.COMPLETED}),
    _R.PAUSED: frozenset({_R.HALTED}),
    _R.HALTED: frozenset(),
    _R.WAITING: frozenset({_R.HALTED, _R.COMPLETED}),
    _R.COMPLETED: frozenset(),
    _R.ABORTED: frozenset(),
}
#: A cabinet that is back with the right version has it, whatever was thought of it.
TARGET_TRANSITIONS: Final[dict[TargetState, frozenset[TargetState]]] = {
    _T.WAITING: frozenset({_T.OFFERED, _T.UPDATED, _T.SKIPPED}),
    _T.OFFERED: frozenset({_T.UPDATING, _T.STARTING, _T.UPDATED, _T.FAILED, _T.TIMED_OUT, _T.WAITING}),
    _T.UPDATING: frozenset({_T.STARTING, _T.UPDATED, _T.FAILED, _T.TIMED_OUT}),
    _T.STARTING: frozenset({_T.UPDATED, _T.FAILED, _T.TIMED_OUT}),
    _T.FAILED: frozenset({_T.UPDATED, _T.WAITING}),
    _T.TIMED_OUT: frozenset({_T.UPDATED, _T.WAITING}),
    _T.UPDATED: frozenset(),
    _T.SKIPPED: frozenset(),
}
UNDER_WAY: Final = (_T.OFFERED, _T.UPDATING, _T.STARTING)
BAD: Final = (_T.FAILED, _T.TIMED_OUT)
SETTLED: Final = (*BAD, _T.UPDATED, _T.SKIPPED)
#: After a pause nobody makes up for the time that was lost.
_CATCH_UP: Final = timedelta(seconds=2)


def after(state: RolloutState, action: Action) -> RolloutState:
    """Raises IllegalTransition when the table does not hold it."""
    wanted = ACTIONS.get((state, action))
    if wanted is None:
        raise IllegalTransition("rollout", state, action)
    return wanted


def check(state: RolloutState, wanted: RolloutState) -> None:
    """Raises IllegalTransition."""
    if wanted not in TRANSITIONS[state]:
        raise IllegalTransition("rollout", state, wanted)


def check_target(state: TargetState, wanted: TargetState) -> None:
    """Raises IllegalTransition."""
    if wanted not in TARGET_TRANSITIONS[state]:
        raise IllegalTransition("rollout target", state, wanted)


def too_many_failed(*, failed: int, forgiven: int, size: int, failure_pct: int) -> bool:
    """More than `failure_pct` of the group, not counting what an operator has looked at already."""
    return (failed - forgiven) * 100 > failure_pct * size


def offers_due(next_offer_at: datetime | None, per_minute: int, now: datetime) -> tuple[int, datetime]:
    """How many stations may be told now, and when the one after them if all of these are."""
    interval = timedelta(minutes=1) / per_minute
    begin = max(next_offer_at or now, now - _CATCH_UP)
    if begin > now:
        return 0, begin
    due = 1 + (now - begin) // interval
    return due, begin + due * interval


def lot(rollout_id: UUID, station_id: int) -> int:
    """Where a station stands in the queue of a rollout: drawn anew for each, the same whenever it is asked."""
    return int.from_bytes(hashlib.blake2b(b"%b%d" % (rollout_id.bytes, station_id), digest_size=8).digest(), "big")
