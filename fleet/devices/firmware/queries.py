"""Rollouts as they are, for those who look at them."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.devices.firmware.errors import RolloutNotFound
from fleet.devices.firmware.models import (
    FirmwareRollout,
    FirmwareRolloutEvent,
    FirmwareRolloutGroup,
    FirmwareRolloutTarget,
    TargetState,
)
from fleet.stations.models import Station


def get_rollout(session: Session, rollout_id: UUID, *, lock: bool = False) -> FirmwareRollout:
    """Raises RolloutNotFound."""
    query = select(FirmwareRollout).where(FirmwareRollout.id == rollout_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    rollout = session.scalars(query).one_or_none()
    if rollout is None:
        raise RolloutNotFound("there is no such rollout", rollout_id=rollout_id)
    return rollout


def rollouts(session: Session, *, limit: int, before: UUID | None = None) -> list[FirmwareRollout]:
    """Newest first."""
    query = select(FirmwareRollout).order_by(FirmwareRollout.id.desc()).limit(limit)
    return list(session.scalars(query if before is None else query.where(FirmwareRollout.id < before)))


def groups_of(session: Session, rollout_id: UUID) -> list[tuple[FirmwareRolloutGroup, dict[TargetState, int]]]:
    """In order, each with how many of its stations are in which state."""
    counts: dict[int, dict[TargetState, int]] = {}
    query = (
        select(FirmwareRolloutTarget.group_number, FirmwareRolloutTarget.state, func.count())
        .where(FirmwareRolloutTarget.rollout_id == rollout_id)
        .group_by(FirmwareRolloutTarget.group_number, FirmwareRolloutTarget.state)
    )
    for number, state, count in session.execute(query):
        counts.setdefault(number, {})[state] = count
    found = session.scalars(
        select(FirmwareRolloutGroup)
        .where(FirmwareRolloutGroup.rollout_id == rollout_id)
        .order_by(FirmwareRolloutGroup.number)
    )
    return [(group, counts.get(group.number, {})) for group in found]


def targets_of(
    session: Session,
    rollout_id: UUID,
    *,
    limit: int,
    after_station: int | None = None,
    state: TargetState | None = None,
) -> list[tuple[FirmwareRolloutTarget, str]]:
    """With their stations' codes, in order of station."""
    query = (
        select(FirmwareRolloutTarget, Station.code)
        .join(Station, Station.id == FirmwareRolloutTarget.station_id)
        .where(FirmwareRolloutTarget.rollout_id == rollout_id)
        .order_by(FirmwareRolloutTarget.station_id)
        .limit(limit)
    )
    if after_station is not None:
        query = query.where(FirmwareRolloutTarget.station_id > after_station)
    if state is not None:
        query = query.where(FirmwareRolloutTarget.state == state)
    return [(target, code) for target, code in session.execute(query)]


def events_of(
    session: Session, rollout_id: UUID, *, limit: int, before: int | None = None
) -> list[tuple[FirmwareRolloutEvent, str | None]]:
    """Newest first, with the station's code where it is about one."""
    query = (
        select(FirmwareRolloutEvent, Station.code)
        .outerjoin(Station, Station.id == FirmwareRolloutEvent.station_id)
        .where(FirmwareRolloutEvent.rollout_id == rollout_id)
        .order_by(FirmwareRolloutEvent.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(FirmwareRolloutEvent.id < before)
    return [(event, code) for event, code in session.execute(query)]
