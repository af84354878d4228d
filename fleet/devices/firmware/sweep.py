"""A rollout takes its next steps. Crash-safe: all that it knows is in rows, each step is judged under their locks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session, aliased

from firmware_protocol.commands import UpdateFirmware
from firmware_protocol.messages import FirmwareProgress
from firmware_protocol.types import ResetCause
from fleet.devices.commands import EJECT, queue_command
from fleet.devices.facts import DeviceFact
from fleet.devices.firmware import rules, trail
from fleet.devices.firmware.models import (
    FirmwareRelease,
    FirmwareRollout,
    FirmwareRolloutGroup,
    FirmwareRolloutTarget,
    RolloutState,
    TargetState,
)
from fleet.devices.firmware.queries import groups_of
from fleet.devices.firmware.releases import bundle_of, get_release, why_not_ready
from fleet.devices.firmware.rollouts import locked_targets, take_back
from fleet.devices.firmware.rules import BAD, SETTLED, UNDER_WAY
from fleet.devices.models import CommandState, DeviceCommand, DeviceSession
from fleet.stations.models import Station, StationSlot

BATCH: Final = 100
#: How long the offer itself waits for a gateway; the update has the rollout's own deadline.
OFFER_WITHIN: Final = timedelta(minutes=5)
#: A download that began just before the deadline may end.
LINK_LIVES_ON: Final = timedelta(hours=1)
BOOTED_OLD: Final = "booted_old_version"
NO_WORD: Final = "deadline"

#: The address of a release's image for a station until then.
MakeLink = Callable[[int, str, datetime], str]


@dataclass(frozen=True, slots=True)
class _Run:
    """One rollout under its lock."""

    session: Session
    rollout: FirmwareRollout
    release: FirmwareRelease
    now: datetime

    def move(self, target: FirmwareRolloutTarget, to: TargetState, code: str | None = None, **detail: object) -> None:
        trail.move_target(self.session, target, to, self.now, version=self.release.version, code=code, **detail)


def sweep(session: Session, now: datetime, make_link: MakeLink) -> int:
    """Every open rollout that no other sweep holds; returns how many."""
    prove(session, now)
    query = (
        select(FirmwareRollout)
        .where(FirmwareRollout.state.not_in((RolloutState.COMPLETED, RolloutState.ABORTED, RolloutState.DRAFT)))
        .order_by(FirmwareRollout.id)
        .with_for_update(skip_locked=True)
    )
    rollouts = session.scalars(query.execution_options(populate_existing=True)).all()
    for rollout in rollouts:
        run = _Run(session, rollout, get_release(session, rollout.release_id), now)
        _learn(run)
        _halt_if_bad(run)
        if rollout.state is RolloutState.RUNNING:
            _offer(run, make_link)
            _close_group(run)
        session.flush()  # what the database refuses must fail here
    return len(rollouts)


def prove(session: Session, now: datetime) -> int:
    """Stations whose `booted` named the new version have it: in time, late, or after they were given up."""
    query = (
        select(FirmwareRolloutTarget, FirmwareRelease.version)
        .join(FirmwareRollout, FirmwareRollout.id == FirmwareRolloutTarget.rollout_id)
        .join(FirmwareRelease, FirmwareRelease.id == FirmwareRollout.release_id)
        .join(Station, Station.id == FirmwareRolloutTarget.station_id)
        .where(FirmwareRolloutTarget.state.in_((*UNDER_WAY, *BAD)), Station.firmware_version == FirmwareRelease.version)
        .order_by(FirmwareRolloutTarget.station_id)
        .limit(BATCH)
        .with_for_update(of=FirmwareRolloutTarget, skip_locked=True)
        .execution_options(populate_existing=True)
    )
    found = session.execute(query).all()
    for target, version in found:
        late = target.state in BAD or (target.deadline is not None and target.deadline < now)
        trail.move_target(session, target, TargetState.UPDATED, now, version=version, late=late)
    session.flush()  # counts follow
    return len(found)


def take_progress(session: Session, fact: DeviceFact, progress: FirmwareProgress, now: datetime) -> bool:
    """The cabinet's own word on how far it is: shown to people, and never taken for success."""
    newer = (FirmwareRolloutTarget.progress_boot < fact.boot) | (
        (FirmwareRolloutTarget.progress_boot == fact.boot) & (FirmwareRolloutTarget.progress_seq < fact.seq)
    )
    of_version = (
        select(FirmwareRollout.id)
        .join(FirmwareRelease, FirmwareRelease.id == FirmwareRollout.release_id)
        .where(FirmwareRelease.version == progress.version)
    )
    changed = session.execute(
        update(FirmwareRolloutTarget)
        .where(
            FirmwareRolloutTarget.station_id == fact.station_id,
            FirmwareRolloutTarget.state.in_(UNDER_WAY),
            FirmwareRolloutTarget.rollout_id.in_(of_version),
            newer,
        )
        .values(
            phase=progress.phase,
            progress_pct=progress.progress_pct,
            progress_boot=fact.boot,
            progress_seq=fact.seq,
            changed_at=now,
        )
        .returning(FirmwareRolloutTarget.station_id)
        .execution_options(synchronize_session=False)
    )
    return changed.first() is not None


def _learn(run: _Run) -> None:
    """How offers ended, who started the old firmware again, whose time is over."""
    targets = locked_targets(run.session, run.rollout.id, UNDER_WAY)
    ids = [target.command_id for target in targets if target.command_id is not None]
    query = select(DeviceCommand).where(DeviceCommand.id.in_(ids)).execution_options(populate_existing=True)
    commands = {command.id: command for command in run.session.scalars(query)} if ids else {}
    for target in targets:
        _take_answer(run, target, None if target.command_id is None else commands.get(target.command_id))
        if target.state is TargetState.STARTING and _started_old(run, target):
            run.move(target, TargetState.FAILED, BOOTED_OLD)
        if target.state in UNDER_WAY and target.deadline is not None and target.deadline <= run.now:
            run.move(target, TargetState.TIMED_OUT, NO_WORD)
    run.session.flush()  # counts follow


def _take_answer(run: _Run, target: FirmwareRolloutTarget, command: DeviceCommand | None) -> None:
    if target.state is TargetState.STARTING or command is None:
        return
    if command.state is CommandState.SUCCEEDED:
        run.move(target, TargetState.STARTING)
    elif command.state is CommandState.FAILED:
        run.move(target, TargetState.FAILED, command.code or (command.outcome.value if command.outcome else "failed"))
    elif command.state in {CommandState.EXPIRED, CommandState.CANCELLED} and target.state is TargetState.OFFERED:
        # It certainly never heard of it: its turn comes again.
        target.command_id = target.deadline = None
        run.move(target, TargetState.WAITING, None, not_sent=True)
    elif target.phase is not None and target.state is TargetState.OFFERED:
        run.move(target, TargetState.UPDATING, None, phase=target.phase)


def _started_old(run: _Run, target: FirmwareRolloutTarget) -> bool:
    """It has restarted since it said that the new firmware starts next, and is what it was."""
    newest = (
        select(DeviceSession)
        .where(DeviceSession.station_id == target.station_id)
        .order_by(DeviceSession.epoch.desc())
        .limit(1)
    )
    session = run.session.scalars(newest.execution_options(populate_existing=True)).one_or_none()
    command = None if target.command_id is None else run.session.get(DeviceCommand, target.command_id)
    since = command.settled_at if command is not None and command.settled_at is not None else target.changed_at
    return (
        session is not None
        and session.connected_at > since
        and session.reset_cause != ResetCause.RECONNECT
        and session.firmware != run.release.version
    )


def _halt_if_bad(run: _Run) -> None:
    if run.rollout.state is RolloutState.HALTED:
        return
    reason = why_not_ready(run.release, run.now)
    if reason is None:
        reason = next(
            (
                f"group {group.number} ({group.name}): {failed} of {group.size} failed"
                for group, counts in groups_of(run.session, run.rollout.id)
                if rules.too_many_failed(
                    failed=(failed := sum(counts.get(state, 0) for state in BAD)),
                    forgiven=group.forgiven,
                    size=group.size,
                    failure_pct=run.rollout.failure_pct,
                )
            ),
            None,
        )
    if reason is not None:
        trail.move(run.session, run.rollout, RolloutState.HALTED, run.now, reason=reason)
        take_back(run.session, run.rollout, run.now)


def _offer(run: _Run, make_link: MakeLink) -> None:
    """Tell the next stations, no faster than the rate, and only those that have nothing else to do."""
    rollout, now = run.rollout, run.now
    due, following = rules.offers_due(rollout.next_offer_at, rollout.per_minute, now)
    if due == 0:
        return
    ready = _ready(run, min(due, BATCH))
    told = 0
    bundle = bundle_of(run.session, run.release) if ready else b""
    for target, station in ready:
        if station.firmware_version == run.release.version:
            run.move(target, TargetState.UPDATED, None, already=True)
            continue
        _tell(run, target, station, bundle, make_link)
        told += 1
    if told:
        rollout.next_offer_at = following - (due - told) * (timedelta(minutes=1) / rollout.per_minute)


def _tell(run: _Run, target: FirmwareRolloutTarget, station: Station, bundle: bytes, make_link: MakeLink) -> None:
    deadline = run.now + timedelta(seconds=run.rollout.device_deadline_s)
    url = make_link(run.release.id, station.code, deadline + LINK_LIVES_ON)
    command = queue_command(
        run.session,
        station_id=station.id,
        command=UpdateFirmware(manifest=bundle, url=url),
        deadline=min(deadline, run.now + OFFER_WITHIN),
        now=run.now,
        requested_by=run.rollout.approved_by,
    )
    run.session.flush()  # the row below refers to it
    target.command_id, target.offered_at, target.deadline = command.id, run.now, deadline
    target.attempts, target.from_version = target.attempts + 1, station.firmware_version
    target.phase = target.progress_pct = None
    run.move(target, TargetState.OFFERED, None, command=str(command.id), attempt=target.attempts)


def _ready(run: _Run, limit: int) -> Sequence[tuple[FirmwareRolloutTarget, Station]]:
    """Online, no eject under way or ordered, no slot held for a rider, no other update; in the order of the draw."""
    other = aliased(FirmwareRolloutTarget)
    ejecting = (
        select(DeviceCommand.id)
        .where(
            DeviceCommand.station_id == Station.id,
            DeviceCommand.kind == EJECT,
            DeviceCommand.state.in_((CommandState.QUEUED, CommandState.SENT, CommandState.UNKNOWN)),
        )
        .exists()
    )
    held = select(StationSlot.id).where(StationSlot.station_id == Station.id, StationSlot.reserved_for.is_not(None))
    updating = select(other.station_id).where(other.station_id == Station.id, other.state.in_(UNDER_WAY))
    query = (
        select(FirmwareRolloutTarget, Station)
        .join(Station, Station.id == FirmwareRolloutTarget.station_id)
        .where(
            FirmwareRolloutTarget.rollout_id == run.rollout.id,
            FirmwareRolloutTarget.group_number <= run.rollout.current_group,
            FirmwareRolloutTarget.state == TargetState.WAITING,
            Station.online,
            ~ejecting,
            ~held.exists(),
            ~updating.exists(),
        )
        .order_by(FirmwareRolloutTarget.group_number, FirmwareRolloutTarget.station_id)
        .limit(limit)
        .with_for_update(of=FirmwareRolloutTarget)
        .execution_options(populate_existing=True)
    )
    return [(target, station) for target, station in run.session.execute(query)]


def _close_group(run: _Run) -> None:
    """The groups that have begun are through: the next one, a person's word, or the end."""
    rollout = run.rollout
    open_ = select(FirmwareRolloutTarget.station_id).where(
        FirmwareRolloutTarget.rollout_id == rollout.id,
        FirmwareRolloutTarget.group_number <= rollout.current_group,
        FirmwareRolloutTarget.state.not_in(SETTLED),
    )
    run.session.flush()  # the question is about the rows as they are now
    if run.session.scalars(open_.limit(1)).first() is not None:
        return
    following = run.session.get(FirmwareRolloutGroup, (rollout.id, rollout.current_group + 1))
    if following is None:
        trail.move(run.session, rollout, RolloutState.COMPLETED, run.now, reason="every station is settled")
    elif following.starts_by_itself:
        rollout.current_group = following.number
    else:
        trail.move(
            run.session, rollout, RolloutState.WAITING, run.now, reason=f"group {rollout.current_group} is through"
        )
