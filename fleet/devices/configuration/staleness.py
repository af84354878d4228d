"""Which stations' configuration is to be put together anew: marked in one statement, done by the sweep in batches."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from fleet.common.bulk import array
from fleet.devices.configuration.models import ConfigScope

_MARK: Final = """
INSERT INTO device_config (station_id, stale)
SELECT t.id, true FROM station t WHERE {condition} ORDER BY t.id
ON CONFLICT (station_id) DO UPDATE SET stale = true
"""
#: What a cabinet says of its hardware counts where no operator has entered a model.
_MODEL: Final = """coalesce(t.hardware_model,
    (SELECT s.hardware FROM device_session s WHERE s.station_id = t.id ORDER BY s.epoch DESC LIMIT 1)) = :name"""
_GROUP: Final = """t.id IN (SELECT m.station_id FROM device_group_member m
    JOIN device_group g ON g.id = m.group_id WHERE g.name = :name)"""
_OF_SCOPE: Final = {
    ConfigScope.DIALECT: text(_MARK.format(condition="t.dialect = :name")),
    ConfigScope.MODEL: text(_MARK.format(condition=_MODEL)),
    ConfigScope.GROUP: text(_MARK.format(condition=_GROUP)),
}
_OF_STATIONS: Final = text(_MARK.format(condition="t.id = ANY(CAST(:ids AS int[]))"))


def mark_layer(session: Session, scope: ConfigScope, name: str) -> None:
    """All stations that this layer is for."""
    session.execute(_OF_SCOPE[scope], {"name": name})


def mark_stations(session: Session, station_ids: Collection[int]) -> None:
    if station_ids:
        session.execute(_OF_STATIONS, {"ids": array(sorted(station_ids))})
