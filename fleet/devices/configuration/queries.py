from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.devices.configuration.models import DeviceConfig
from fleet.devices.configuration.rules import Standing
from fleet.stations.models import Station
from fleet.stations.queries import find_station

_CONDITION = {
    Standing.DRIFTED: DeviceConfig.drifted,
    Standing.REFUSED: (DeviceConfig.version != DeviceConfig.accepted_version)
    & (DeviceConfig.refused_version == DeviceConfig.version),
    Standing.PENDING: (DeviceConfig.version != DeviceConfig.accepted_version)
    & DeviceConfig.refused_version.is_distinct_from(DeviceConfig.version),
    Standing.IN_SYNC: (DeviceConfig.version == DeviceConfig.accepted_version)
    & ~DeviceConfig.drifted
    & (DeviceConfig.desired != {}),
    Standing.UNSET: (DeviceConfig.version == DeviceConfig.accepted_version) & (DeviceConfig.desired == {}),
}


def config_of(session: Session, code: str) -> DeviceConfig:
    """What a station should have and has; empty when nobody ever said anything. Raises StationNotFound."""
    station = find_station(session, code)
    found = session.get(DeviceConfig, station.id)
    if found is not None:
        return found
    return DeviceConfig(
        station_id=station.id, overrides={}, overrides_version=0, desired={}, version=0, accepted_version=0,
        drifted=False,
    )  # fmt: skip


def stations_in(
    session: Session, standing: Standing, *, limit: int, after_id: int | None = None
) -> list[tuple[DeviceConfig, str]]:
    """With their codes, in order of station."""
    query = (
        select(DeviceConfig, Station.code)
        .join(Station, Station.id == DeviceConfig.station_id)
        .where(_CONDITION[standing])
        .order_by(DeviceConfig.station_id)
        .limit(limit)
    )
    if after_id is not None:
        query = query.where(DeviceConfig.station_id > after_id)
    return [(row, code) for row, code in session.execute(query)]
