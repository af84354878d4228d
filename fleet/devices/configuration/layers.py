"""What operators want: of a dialect, a model, a group, or one station."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.devices.configuration import staleness
from fleet.devices.configuration.errors import ConfigChanged, LayerNotFound
from fleet.devices.configuration.groups import find_group
from fleet.devices.configuration.models import ConfigScope, DeviceConfig, DeviceConfigLayer, DeviceGroup
from fleet.devices.configuration.rules import Values, check_values
from fleet.stations.queries import find_station


def put_layer(
    session: Session,
    scope: ConfigScope,
    name: str,
    values: Values,
    now: datetime,
    *,
    expected_version: int | None = None,
    actor_id: UUID | None = None,
) -> DeviceConfigLayer:
    """Replace a layer. Its stations are told within seconds, or when they come back.

    `expected_version`: 0 for a layer that must not be there yet. Raises InvalidConfig, ConfigChanged, GroupNotFound.
    """
    check_values(values)
    if scope is ConfigScope.GROUP:
        find_group(session, name)
    made = session.scalar(
        insert(DeviceConfigLayer)
        .values(scope=scope, name=name, values={}, version=0, updated_at=now)
        .on_conflict_do_nothing(index_elements=["scope", "name"])
        .returning(DeviceConfigLayer.id)
    )
    layer = _locked(session, scope, name)
    assert layer is not None  # nobody deletes a row that this transaction has made, or it is locked
    if expected_version is not None and expected_version != layer.version:
        _changed(f"{scope} {name}", 0 if made is not None else layer.version)
    if layer.version and layer.values == dict(values):
        return layer
    layer.values, layer.version = dict(values), layer.version + 1
    layer.updated_at, layer.updated_by = now, actor_id
    session.flush()  # the marks below are for the rows as they are now
    staleness.mark_layer(session, scope, name)
    return layer


def delete_layer(session: Session, scope: ConfigScope, name: str) -> None:
    """Its keys fall to wider layers, or back to the cabinets. Raises LayerNotFound."""
    layer = _locked(session, scope, name)
    if layer is None:
        raise LayerNotFound(f"there is no configuration for {scope} {name}", scope=scope, name=name)
    session.delete(layer)
    session.flush()  # see put_layer
    staleness.mark_layer(session, scope, name)


def set_overrides(
    session: Session, code: str, values: Values, now: datetime, *, expected_version: int | None = None
) -> DeviceConfig:
    """Replace what one station alone is told. Raises StationNotFound, InvalidConfig, ConfigChanged."""
    check_values(values)
    row = lock_config(session, find_station(session, code).id)
    if expected_version is not None and expected_version != row.overrides_version:
        _changed(f"station {code}", row.overrides_version)
    if row.overrides != dict(values):
        row.overrides, row.overrides_version, row.stale = dict(values), row.overrides_version + 1, True
        row.next_try_at = now
    session.flush()  # a sweep that is called next must see it
    return row


def lock_config(session: Session, station_id: int) -> DeviceConfig:
    """The station's row, made if there is none, locked."""
    session.execute(insert(DeviceConfig).values(station_id=station_id).on_conflict_do_nothing())
    query = select(DeviceConfig).where(DeviceConfig.station_id == station_id)
    return session.scalars(query.with_for_update().execution_options(populate_existing=True)).one()


def all_layers(session: Session) -> list[DeviceConfigLayer]:
    return list(session.scalars(select(DeviceConfigLayer).order_by(DeviceConfigLayer.scope, DeviceConfigLayer.name)))


def _locked(session: Session, scope: ConfigScope, name: str) -> DeviceConfigLayer | None:
    query = select(DeviceConfigLayer).where(DeviceConfigLayer.scope == scope, DeviceConfigLayer.name == name)
    return session.scalars(query.with_for_update().execution_options(populate_existing=True)).one_or_none()


def _changed(what: str, version: int) -> None:
    raise ConfigChanged(f"the configuration of {what} was changed by somebody else", version=version)


class LayerBook:
    """All layers, read once for a batch of stations."""

    def __init__(self, session: Session) -> None:
        self._values: Mapping[tuple[ConfigScope, str], dict[str, Any]] = {
            (layer.scope, layer.name): layer.values for layer in all_layers(session)
        }
        self._ranks = {name: (rank, name) for name, rank in session.execute(select(DeviceGroup.name, DeviceGroup.rank))}

    def of(self, dialect: str, model: str | None, groups: Collection[str]) -> list[dict[str, Any]]:
        """From the widest to the narrowest."""
        keys = [(ConfigScope.DIALECT, dialect)]
        if model is not None:
            keys.append((ConfigScope.MODEL, model))
        keys += [
            (ConfigScope.GROUP, name) for name in sorted(groups, key=lambda name: self._ranks.get(name, (0, name)))
        ]
        return [self._values[key] for key in keys if key in self._values]
