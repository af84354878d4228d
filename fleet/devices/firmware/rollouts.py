"""Rollouts as operators make and steer them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.orm import Session

from fleet.db import new_id
from fleet.devices.commands import cancel_command
from fleet.devices.configuration import groups
from fleet.devices.firmware import queries, rules, trail
from fleet.devices.firmware.errors import NoTargets, ReleaseNotReady
from fleet.devices.firmware.models import (
    FirmwareRelease,
    FirmwareRollout,
    FirmwareRolloutGroup,
    FirmwareRolloutTarget,
    RolloutState,
    TargetState,
)
from fleet.devices.firmware.releases import get_release, why_not_ready
from fleet.devices.firmware.rules import BAD, Action

_CANDIDATES: Final = text("""
SELECT t.id, t.code, t.firmware_version, s.hardware FROM station t
  JOIN LATERAL (SELECT hardware FROM device_session WHERE station_id = t.id ORDER BY epoch DESC LIMIT 1) s ON true
 WHERE s.hardware = ANY(:hardware) ORDER BY t.id
""")


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """Exactly one of: `percent` of the stations that no group before has, `stations` by code, a device `group`.

    Only stations whose own `booted` named a hardware of the release are ever chosen.
    """

    name: str
    percent: int | None = None
    stations: tuple[str, ...] = ()
    group: str | None = None
    starts_by_itself: bool = False

    @property
    def selector(self) -> dict[str, Any]:
        if self.percent is not None:
            return {"percent": self.percent}
        return {"group": self.group} if self.group is not None else {"stations": list(self.stations)}


@dataclass(frozen=True, slots=True)
class _Candidate:
    station_id: int
    code: str
    firmware: str | None


def create(
    session: Session,
    *,
    release_id: int,
    name: str,
    specs: Sequence[GroupSpec],
    now: datetime,
    failure_pct: int = 10,
    per_minute: int = 10,
    device_deadline_s: int = 1800,
    actor_id: UUID | None = None,
) -> FirmwareRollout:
    """A draft whose stations are chosen now; nothing is sent before it is approved.

    Raises ReleaseNotFound, NoTargets, GroupNotFound.
    """
    release = get_release(session, release_id)
    rollout = FirmwareRollout(
        id=new_id(),
        name=name,
        release_id=release.id,
        state=RolloutState.DRAFT,
        failure_pct=failure_pct,
        per_minute=per_minute,
        device_deadline_s=device_deadline_s,
        current_group=0,
        created_at=now,
        created_by=actor_id,
    )
    session.add(rollout)
    session.flush()  # groups and targets refer to it
    left = {each.code: each for each in _candidates(session, release)}
    for number, spec in enumerate(specs, 1):
        chosen = _choose(session, rollout, number, spec, left)
        _write_group(session, rollout, number, spec, chosen, now=now)
    return rollout


def _candidates(session: Session, release: FirmwareRelease) -> list[_Candidate]:
    rows = session.execute(_CANDIDATES, {"hardware": release.hardware})
    return [_Candidate(row.id, row.code, row.firmware_version) for row in rows]


def _choose(
    session: Session, rollout: FirmwareRollout, number: int, spec: GroupSpec, left: dict[str, _Candidate]
) -> list[_Candidate]:
    """Taken out of `left`."""
    if spec.percent is not None:
        queue = sorted(left.values(), key=lambda each: rules.lot(rollout.id, each.station_id))
        codes: Collection[str] = [each.code for each in queue[: -(-len(queue) * spec.percent // 100)]]
    elif spec.group is not None:
        codes = [code for code in groups.members(session, spec.group) if code in left]
    else:
        codes = spec.stations
        strangers = [code for code in dict.fromkeys(codes) if code not in left]
        if strangers:
            raise NoTargets(
                f"group {number}: not for this release, or in a group before: {', '.join(strangers[:10])}",
                group=number,
                stations=strangers[:100],
                field="groups",
            )
    if not codes:
        raise NoTargets(f"group {number} ({spec.name}) chooses no station", group=number, field="groups")
    return [left.pop(code) for code in dict.fromkeys(codes)]


def _write_group(
    session: Session,
    rollout: FirmwareRollout,
    number: int,
    spec: GroupSpec,
    chosen: Sequence[_Candidate],
    *,
    now: datetime,
) -> None:
    session.add(
        FirmwareRolloutGroup(
            rollout_id=rollout.id,
            number=number,
            name=spec.name,
            selector=spec.selector,
            size=len(chosen),
            starts_by_itself=spec.starts_by_itself,
            forgiven=0,
        )
    )
    session.flush()  # targets refer to it
    rows = [
        {
            "rollout_id": rollout.id,
            "station_id": each.station_id,
            "group_number": number,
            "state": TargetState.WAITING,
            "from_version": each.firmware,
            "changed_at": now,
        }
        for each in chosen
    ]
    session.execute(insert(FirmwareRolloutTarget), rows)


def steer(
    session: Session,
    rollout_id: UUID,
    action: Action,
    now: datetime,
    *,
    actor_id: UUID | None,
    reason: str | None = None,
    retry_failed: bool = False,
) -> FirmwareRollout:
    """Approve, pause, resume, start the next group, or abort. Raises IllegalTransition, ReleaseNotReady.

    `retry_failed`, with resume: those that failed get another turn. Otherwise they count as looked at, and only
    further failures halt it again.
    """
    rollout = queries.get_rollout(session, rollout_id, lock=True)
    rules.after(rollout.state, action)  # before anything else is looked at
    if action in {Action.APPROVE, Action.RESUME, Action.NEXT_GROUP}:
        _check_ready(session, rollout, now)
    halted = rollout.state is RolloutState.HALTED
    if action is Action.NEXT_GROUP:
        _open_next_group(session, rollout)
    trail.act(session, rollout, action, now, actor_id=actor_id, detail={"reason": reason, "retry_failed": retry_failed})
    if action is Action.APPROVE:
        rollout.current_group, rollout.approved_at, rollout.approved_by = 1, now, actor_id
    if action in {Action.APPROVE, Action.RESUME, Action.NEXT_GROUP}:
        rollout.next_offer_at = now
    if action is Action.RESUME and retry_failed:
        _retry(session, rollout, now)
    elif action is Action.RESUME and halted:
        _forgive(session, rollout)
    if action in {Action.PAUSE, Action.ABORT}:
        take_back(session, rollout, now)
    if action is Action.ABORT:
        _skip_waiting(session, rollout, now)
    session.flush()  # what the database refuses belongs to this call
    return rollout


def _check_ready(session: Session, rollout: FirmwareRollout, now: datetime) -> None:
    why = why_not_ready(get_release(session, rollout.release_id), now)
    if why is not None:
        raise ReleaseNotReady(f"this release cannot be rolled out: {why}", release_id=rollout.release_id)


def _open_next_group(session: Session, rollout: FirmwareRollout) -> None:
    last = session.scalar(
        select(func.max(FirmwareRolloutGroup.number)).where(FirmwareRolloutGroup.rollout_id == rollout.id)
    )
    if last is None or rollout.current_group >= last:
        raise NoTargets("there is no further group", group=rollout.current_group)
    rollout.current_group += 1


def _version(session: Session, rollout: FirmwareRollout) -> str:
    return get_release(session, rollout.release_id).version


def _retry(session: Session, rollout: FirmwareRollout, now: datetime) -> None:
    version = _version(session, rollout)
    for target in locked_targets(session, rollout.id, BAD):
        trail.move_target(session, target, TargetState.WAITING, now, version=version, again=True)


def _forgive(session: Session, rollout: FirmwareRollout) -> None:
    failed = (
        select(func.count())
        .where(
            FirmwareRolloutTarget.rollout_id == rollout.id,
            FirmwareRolloutTarget.group_number == FirmwareRolloutGroup.number,
            FirmwareRolloutTarget.state.in_(BAD),
        )
        .correlate(FirmwareRolloutGroup)
        .scalar_subquery()
    )
    session.execute(
        update(FirmwareRolloutGroup).where(FirmwareRolloutGroup.rollout_id == rollout.id).values(forgiven=failed),
        execution_options={"synchronize_session": False},
    )


def take_back(session: Session, rollout: FirmwareRollout, now: datetime) -> None:
    """Commands that no gateway has sent yet are not sent; what is on its way cannot be called back."""
    version = _version(session, rollout)
    for target in locked_targets(session, rollout.id, (TargetState.OFFERED,)):
        if target.command_id is not None and cancel_command(session, target.command_id, now):
            target.command_id = target.deadline = None
            trail.move_target(session, target, TargetState.WAITING, now, version=version, taken_back=True)
    session.flush()  # counts follow


def _skip_waiting(session: Session, rollout: FirmwareRollout, now: datetime) -> None:
    version = _version(session, rollout)
    for target in locked_targets(session, rollout.id, (TargetState.WAITING,)):
        trail.move_target(session, target, TargetState.SKIPPED, now, version=version)


def locked_targets(
    session: Session, rollout_id: UUID, states: Collection[TargetState]
) -> Sequence[FirmwareRolloutTarget]:
    """In order of station; the rollout's own lock is held."""
    query = (
        select(FirmwareRolloutTarget)
        .where(FirmwareRolloutTarget.rollout_id == rollout_id, FirmwareRolloutTarget.state.in_(states))
        .order_by(FirmwareRolloutTarget.station_id)
        .with_for_update()
    )
    return session.scalars(query.execution_options(populate_existing=True)).all()
