"""Groups of stations, by name. Their members are configured and updated together."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.devices.configuration import staleness
from fleet.devices.configuration.errors import GroupInUse, GroupNotFound
from fleet.devices.configuration.models import ConfigScope, DeviceConfigLayer, DeviceGroup, DeviceGroupMember
from fleet.stations.errors import StationNotFound
from fleet.stations.models import Station


def find_group(session: Session, name: str, *, lock: bool = False) -> DeviceGroup:
    """Raises GroupNotFound."""
    query = select(DeviceGroup).where(DeviceGroup.name == name)
    group = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if group is None:
        raise GroupNotFound(f"there is no group {name}", group=name)
    return group


def put_group(session: Session, name: str, now: datetime, *, description: str, rank: int) -> DeviceGroup:
    """Make the group, or bring it to what is given."""
    session.execute(
        insert(DeviceGroup)
        .values(name=name, description=description, rank=rank, created_at=now)
        .on_conflict_do_nothing(index_elements=["name"])
    )
    group = find_group(session, name, lock=True)
    if group.rank != rank:
        staleness.mark_layer(session, ConfigScope.GROUP, name)
    group.description, group.rank = description, rank
    session.flush()  # a rank that does not fit belongs to this call
    return group


def delete_group(session: Session, name: str) -> None:
    """Raises GroupInUse while it configures its members."""
    group = find_group(session, name, lock=True)
    layer = select(DeviceConfigLayer.id).where(
        DeviceConfigLayer.scope == ConfigScope.GROUP, DeviceConfigLayer.name == name
    )
    if session.scalar(layer) is not None:
        raise GroupInUse(f"{name} still has a configuration; delete that first", group=name)
    session.delete(group)


def change_members(session: Session, name: str, *, add: Collection[str] = (), remove: Collection[str] = ()) -> int:
    """By station codes; what is so already stays so. Returns how many members there are now.

    Raises StationNotFound for a code that there is not.
    """
    group = find_group(session, name, lock=True)
    added, removed = _ids(session, add), _ids(session, remove)
    if added:
        rows = [{"group_id": group.id, "station_id": each} for each in added]
        session.execute(insert(DeviceGroupMember).on_conflict_do_nothing(), rows)
    if removed:
        session.execute(
            delete(DeviceGroupMember).where(
                DeviceGroupMember.group_id == group.id, DeviceGroupMember.station_id.in_(removed)
            )
        )
    staleness.mark_stations(session, sorted({*added, *removed}))
    return session.scalar(select(func.count()).where(DeviceGroupMember.group_id == group.id)) or 0


def groups(session: Session) -> list[tuple[DeviceGroup, int]]:
    """All of them with the number of their members, by name."""
    members = (
        select(func.count())
        .where(DeviceGroupMember.group_id == DeviceGroup.id)
        .correlate(DeviceGroup)
        .scalar_subquery()
    )
    return [(group, count) for group, count in session.execute(select(DeviceGroup, members).order_by(DeviceGroup.name))]


def members(session: Session, name: str) -> Sequence[str]:
    """Station codes, in order."""
    group = find_group(session, name)
    query = select(Station.code).join(DeviceGroupMember, DeviceGroupMember.station_id == Station.id)
    return session.scalars(query.where(DeviceGroupMember.group_id == group.id).order_by(Station.code)).all()


def _ids(session: Session, codes: Collection[str]) -> list[int]:
    if not codes:
        return []
    known = {row[0]: row[1] for row in session.execute(select(Station.code, Station.id).where(Station.code.in_(codes)))}
    for code in codes:
        if code not in known:
            raise StationNotFound(f"there is no station {code}", code=code)
    return sorted(known.values())
