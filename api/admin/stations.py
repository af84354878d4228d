from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Query, Request

from api.admin.acts import ActsDep
from api.admin.device_schemas import MaintenanceIn
from api.admin.schemas import (
    Code,
    ImportOut,
    SlotForOperator,
    SlotPatch,
    StationDetailForOperator,
    StationForOperator,
    StationIn,
    StationPatch,
)
from api.auth import CurrentOperator
from api.deps import Now, RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.runtime import Runtime
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from firmware_protocol.dialects.registry import CAPABILITIES
from fleet.stations import operators, queries, service
from fleet.stations.models import Station
from fleet.stations.specs import StationSpec, parse_row, read_rows
from fleet.users.audit import act

router = area("admin", "admin")

_CSV = "text/csv"
#: Where a station keeps what a request calls otherwise.
_COLUMN_OF = {"slots": "slot_count"}
_IMPORT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            _CSV: {
                "schema": {"type": "string"},
                "example": "code,name,latitude,longitude,slots,city\nZRH-0001,Main station,47.3779,8.5402,12,Zürich\n",
            },
            "application/json": {
                "schema": {"type": "array", "items": {"type": "object"}},
                "example": [{"code": "ZRH-0001", "name": "Main", "latitude": 47.38, "longitude": 8.54, "slots": 12}],
            },
        },
    }
}


@router.get(
    "/station", operation_id="admin_list_stations", summary="All stations, disabled ones too",
    responses=problems(401, 403),
)  # fmt: skip
def list_stations(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    now: Now,
    q: Annotated[str | None, Query(max_length=100, description="in code, name or address")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[StationForOperator]:
    rows = queries.station_page(
        session,
        limit=limit + 1,
        now=now,
        min_charge_pct=runtime.policy.min_charge_pct,
        after_id=runtime.cursors.read("admin-stations", cursor),
        search=q,
        all_states=True,
    )
    more = runtime.cursors.make("admin-stations", rows[limit - 1].id) if len(rows) > limit else None
    return Page(items=[StationForOperator.model_validate(row) for row in rows[:limit]], next=more)


@router.get(
    "/station/{code}", operation_id="admin_get_station", summary="One station with its slots and banks",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_station(
    code: Code, session: SessionDep, runtime: RuntimeDep, _: CurrentOperator, now: Now
) -> StationDetailForOperator:
    return StationDetailForOperator.of(
        queries.station_by_code(session, code, now=now, min_charge_pct=runtime.policy.min_charge_pct)
    )


@router.post(
    "/station", operation_id="admin_create_station", summary="Make a station, or bring it to what is given",
    status_code=201, responses=problems(401, 403),
)  # fmt: skip
def create_station(body: StationIn, runtime: RuntimeDep, acts: ActsDep) -> StationDetailForOperator:
    """Sent again it changes nothing. Its slots come with it."""
    station = service.create_station(acts.session, StationSpec(**body.model_dump()), acts.now)
    acts.record("station.create", target=station.code, detail=body.model_dump(mode="json"))
    return _page(station, runtime, acts)


@router.patch(
    "/station/{code}", operation_id="admin_patch_station", summary="Change a station, or what is wanted of it",
    responses=problems(401, 403, 404),
)  # fmt: skip
def patch_station(code: Code, body: StationPatch, runtime: RuntimeDep, acts: ActsDep) -> StationDetailForOperator:
    """`status`: `maintenance` and `disabled` give no banks but take them back; no cabinet ever changes it."""
    station = queries.find_station(acts.session, code)
    changes = body.model_dump(exclude_unset=True, exclude={"status", "reason"})
    if changes:
        before = {name: getattr(station, _COLUMN_OF.get(name, name)) for name in changes}
        station = service.create_station(acts.session, replace(_spec_of(station), **changes), acts.now)
        act(
            acts.session, acts.actor, "station.change", code, acts.now,
            reason=body.reason, before=before, after=changes,
        )  # fmt: skip
    if body.status is not None:
        station = operators.set_status(
            acts.session, code, body.status, reason=body.reason, actor=acts.actor, now=acts.now
        )
    return _page(station, runtime, acts)


@router.post(
    "/station/{code}/maintenance", operation_id="admin_maintenance", summary="Take a station into maintenance, or out",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def maintenance(code: Code, body: MaintenanceIn, runtime: RuntimeDep, acts: ActsDep) -> StationDetailForOperator:
    """In maintenance it gives no banks and takes them back. Again changes nothing. 409: the station is disabled."""
    station = operators.set_maintenance(
        acts.session, code, on=body.on, reason=body.reason, actor=acts.actor, now=acts.now
    )
    return _page(station, runtime, acts)


def _spec_of(station: Station) -> StationSpec:
    return StationSpec(
        code=station.code,
        name=station.name,
        latitude=station.latitude,
        longitude=station.longitude,
        slots=station.slot_count,
        address=station.address,
        city=station.city,
        country=station.country,
        dialect=station.dialect,
        time_zone=station.time_zone,
        hardware_model=station.hardware_model,
        hardware_id=station.hardware_id,
    )


def _page(station: Station, runtime: Runtime, acts: ActsDep) -> StationDetailForOperator:
    acts.session.flush()  # the page is read back by SQL
    return StationDetailForOperator.of(
        queries.station_by_code(acts.session, station.code, now=acts.now, min_charge_pct=runtime.policy.min_charge_pct)
    )


@router.patch(
    "/station/{code}/slot/{number}", operation_id="admin_patch_slot", summary="Take a slot out of use, or back",
    responses=problems(401, 403, 404),
)  # fmt: skip
def patch_slot(code: Code, number: int, body: SlotPatch, runtime: RuntimeDep, acts: ActsDep) -> SlotForOperator:
    """In the backend's books; `lock_slot` makes the cabinet itself refuse. Back in use it counts as healthy again."""
    if body.disabled_reason is None:
        slot = operators.enable_slot(acts.session, code, number, reason=None, actor=acts.actor, now=acts.now)
    else:
        reason = body.disabled_reason
        slot = operators.disable_slot(acts.session, code, number, reason=reason, actor=acts.actor, now=acts.now)
    acts.session.flush()  # the slot is read back by SQL
    found = queries.station_by_code(acts.session, code, now=acts.now, min_charge_pct=runtime.policy.min_charge_pct)
    return SlotForOperator.model_validate(next(view for view in found.slot_list if view.number == slot.number))


async def _raw_body(request: Request) -> bytes:
    return await request.body()


@router.post(
    "/station/import",
    operation_id="admin_import_stations",
    summary="Make or change many stations at once, from CSV or JSON",
    responses=problems(401, 403),
    openapi_extra=_IMPORT_BODY,
)
def import_stations(request: Request, body: Annotated[bytes, Depends(_raw_body)], acts: ActsDep) -> ImportOut:
    """Rows with problems change nothing and are named; the others are done. The same file again changes nothing."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    rows = read_rows(body, as_csv=content_type == _CSV)
    report = service.import_stations(acts.session, [parse_row(row, CAPABILITIES) for row in rows], acts.now)
    done = ImportOut.model_validate(report)
    acts.record("station.import", detail={"rows": done.model_dump(exclude={"problems"}), "refused": len(done.problems)})
    return done
