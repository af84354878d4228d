"""What cabinets are told: by dialect, model, group, and station by station."""

from typing import Annotated

from fastapi import Path, Query

from api.admin.acts import ActsDep
from api.admin.schemas import Code
from api.admin.upkeep_schemas import (
    ConfigKeyOut,
    ConfigKeysOut,
    ConfigValuesIn,
    GroupIn,
    GroupOut,
    GroupsOut,
    LayerOut,
    LayersOut,
    MembersIn,
    MembersOut,
    Name,
    StationConfigOut,
)
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from firmware_protocol.config_keys import KEYS
from fleet.devices.configuration import groups, layers, queries, sync
from fleet.devices.configuration.models import ConfigScope
from fleet.devices.configuration.rules import Standing

router = area("admin", "admin")
LayerName = Annotated[str, Path(min_length=1, max_length=100, description="dialect, hardware model or group")]


@router.get(
    "/device-config/key", operation_id="list_device_config_keys", summary="The keys that cabinets understand",
    responses=problems(401, 403),
)  # fmt: skip
def list_keys(_: CurrentOperator) -> ConfigKeysOut:
    return ConfigKeysOut(items=[ConfigKeyOut.model_validate(key) for key in KEYS.values()])


@router.get(
    "/device-config/layer", operation_id="list_device_config_layers",
    summary="What dialects, models and groups are told", responses=problems(401, 403),
)  # fmt: skip
def list_layers(session: SessionDep, _: CurrentOperator) -> LayersOut:
    return LayersOut(items=[LayerOut.model_validate(layer) for layer in layers.all_layers(session)])


@router.put(
    "/device-config/layer/{scope}/{name}", operation_id="put_device_config_layer",
    summary="Say what a dialect, model or group is told", responses=problems(401, 403, 404, 409),
)  # fmt: skip
def put_layer(scope: ConfigScope, name: LayerName, body: ConfigValuesIn, acts: ActsDep) -> LayerOut:
    """Cabinets that are online have it within seconds, the others when they are back."""
    layer = layers.put_layer(
        acts.session, scope, name, body.values, acts.now, expected_version=body.expected_version,
        actor_id=acts.operator.id,
    )  # fmt: skip
    acts.record("device_config.put", target=f"{scope}:{name}", detail=body.model_dump(mode="json"))
    return LayerOut.model_validate(layer)


@router.delete(
    "/device-config/layer/{scope}/{name}", operation_id="delete_device_config_layer",
    summary="Say nothing any more", status_code=204, responses=problems(401, 403, 404),
)  # fmt: skip
def delete_layer(scope: ConfigScope, name: LayerName, acts: ActsDep) -> None:
    """Its keys fall to wider layers, or back to the cabinets' own defaults."""
    layers.delete_layer(acts.session, scope, name)
    acts.record("device_config.delete", target=f"{scope}:{name}")


@router.get(
    "/device-config/station", operation_id="list_device_config_stations",
    summary="Stations that are not as they should be", responses=problems(401, 403),
)  # fmt: skip
def list_stations(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    standing: Annotated[Standing, Query(description="pending, refused or drifted")] = Standing.DRIFTED,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[StationConfigOut]:
    after = runtime.cursors.read("device-config", cursor)
    rows = queries.stations_in(session, standing, limit=limit + 1, after_id=after)
    more = runtime.cursors.make("device-config", rows[limit - 1][0].station_id) if len(rows) > limit else None
    return Page(items=[StationConfigOut.of(code, row) for row, code in rows[:limit]], next=more)


@router.get(
    "/station/{code}/config", operation_id="get_station_config", summary="What a cabinet should have, and has",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_config(code: Code, session: SessionDep, _: CurrentOperator) -> StationConfigOut:
    return StationConfigOut.of(code, queries.config_of(session, code))


@router.put(
    "/station/{code}/config", operation_id="put_station_config", summary="Say what one cabinet alone is told",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def put_config(code: Code, body: ConfigValuesIn, acts: ActsDep) -> StationConfigOut:
    """On its way at once when the cabinet is online."""
    row = layers.set_overrides(acts.session, code, body.values, acts.now, expected_version=body.expected_version)
    acts.record("device_config.put", target=code, detail=body.model_dump(mode="json"))
    sync.sync_station(acts.session, row.station_id, acts.now)
    return StationConfigOut.of(code, row)


@router.get(
    "/device-group", operation_id="list_device_groups", summary="Groups of cabinets", responses=problems(401, 403)
)
def list_groups(session: SessionDep, _: CurrentOperator) -> GroupsOut:
    found = groups.groups(session)
    return GroupsOut(
        items=[
            GroupOut(name=group.name, description=group.description, rank=group.rank, stations=count)
            for group, count in found
        ]
    )


@router.put(
    "/device-group/{name}", operation_id="put_device_group", summary="Make a group, or change it",
    responses=problems(401, 403),
)  # fmt: skip
def put_group(name: Name, body: GroupIn, acts: ActsDep) -> GroupOut:
    group = groups.put_group(acts.session, name, acts.now, description=body.description, rank=body.rank)
    acts.record("device_group.put", target=name, detail=body.model_dump(mode="json"))
    count = len(groups.members(acts.session, name))
    return GroupOut(name=group.name, description=group.description, rank=group.rank, stations=count)


@router.delete(
    "/device-group/{name}", operation_id="delete_device_group", summary="Dissolve a group", status_code=204,
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def delete_group(name: Name, acts: ActsDep) -> None:
    groups.delete_group(acts.session, name)
    acts.record("device_group.delete", target=name)


@router.get(
    "/device-group/{name}/station", operation_id="list_device_group_stations", summary="Who is in a group",
    responses=problems(401, 403, 404),
)  # fmt: skip
def list_members(name: Name, session: SessionDep, _: CurrentOperator) -> MembersOut:
    return MembersOut(items=list(groups.members(session, name)))


@router.post(
    "/device-group/{name}/station", operation_id="change_device_group_stations", summary="Add or remove stations",
    responses=problems(401, 403, 404),
)  # fmt: skip
def change_members(name: Name, body: MembersIn, acts: ActsDep) -> MembersOut:
    """Sent again it changes nothing. Their configuration follows."""
    groups.change_members(acts.session, name, add=body.add, remove=body.remove)
    acts.record("device_group.change", target=name, detail=body.model_dump(mode="json"))
    return MembersOut(items=list(groups.members(acts.session, name)))
