"""Every change of a rollout or a target goes through here: the table is asked, the change is written down."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.outbox import publish
from fleet.devices.firmware import rules
from fleet.devices.firmware.events import FirmwareUpdateFailed, RolloutHalted
from fleet.devices.firmware.models import (
    FirmwareRollout,
    FirmwareRolloutEvent,
    FirmwareRolloutTarget,
    RolloutState,
    TargetState,
)


def move(session: Session, rollout: FirmwareRollout, to: RolloutState, now: datetime, *, reason: str) -> None:
    """By itself; `rollout` is locked. Raises IllegalTransition."""
    rules.check(rollout.state, to)
    _note(session, rollout, rollout.state, to, now, actor_id=None, detail={"reason": reason})
    rollout.state, rollout.reason = to, reason
    if to in {RolloutState.COMPLETED, RolloutState.ABORTED}:
        rollout.ended_at = now
    if to is RolloutState.HALTED:
        publish(session, RolloutHalted(rollout.id, reason), now)


def act(
    session: Session,
    rollout: FirmwareRollout,
    action: rules.Action,
    now: datetime,
    *,
    actor_id: UUID | None,
    detail: dict[str, Any],
) -> None:
    """By a person; `rollout` is locked. Raises IllegalTransition."""
    to = rules.after(rollout.state, action)
    _note(session, rollout, rollout.state, to, now, actor_id=actor_id, detail={"action": action, **detail})
    rollout.state, rollout.reason = to, None
    if to is RolloutState.ABORTED:
        rollout.ended_at = now


def move_target(
    session: Session,
    target: FirmwareRolloutTarget,
    to: TargetState,
    now: datetime,
    *,
    version: str,
    code: str | None = None,
    **detail: Any,
) -> None:
    """`target` is locked. Raises IllegalTransition."""
    rules.check_target(target.state, to)
    session.add(
        FirmwareRolloutEvent(
            rollout_id=target.rollout_id,
            station_id=target.station_id,
            what="target",
            before=target.state,
            after=to,
            detail={**detail, "code": code} if code else detail,
            at=now,
        )
    )
    target.state, target.code, target.changed_at = to, code, now
    if to in rules.BAD:
        publish(session, FirmwareUpdateFailed(target.rollout_id, target.station_id, version, code or to), now)


def _note(
    session: Session,
    rollout: FirmwareRollout,
    before: RolloutState,
    to: RolloutState,
    now: datetime,
    *,
    actor_id: UUID | None,
    detail: dict[str, Any],
) -> None:
    session.add(
        FirmwareRolloutEvent(
            rollout_id=rollout.id, what="rollout", before=before, after=to, actor_id=actor_id, detail=detail, at=now
        )
    )
