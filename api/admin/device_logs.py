"""Logs collected from cabinets."""

from typing import Annotated
from uuid import UUID

from fastapi import Query
from fastapi.responses import StreamingResponse

from api.admin.acts import ActsDep
from api.admin.schemas import Code
from api.admin.upkeep_schemas import LogOut, LogRequestIn
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.devices.logs import collect
from fleet.stations.models import Station
from fleet.stations.queries import find_station

router = area("admin", "admin")


@router.post(
    "/station/{code}/log", operation_id="request_device_log", summary="Fetch a cabinet's log", status_code=202,
    responses=problems(401, 403, 404),
)  # fmt: skip
def request_log(code: Code, body: LogRequestIn, acts: ActsDep) -> LogOut:
    """It comes in pieces; look at it until it is settled. A cabinet that is offline is asked when it is back."""
    log = collect.request_log(
        acts.session, code, acts.now, since=body.since, max_bytes=body.max_bytes, reason=body.reason,
        requested_by=acts.operator.id,
    )  # fmt: skip
    acts.record("device_log.request", target=code, detail={"log_id": str(log.id), **body.model_dump(mode="json")})
    return LogOut.of(log, code)


@router.get(
    "/device-log", operation_id="list_device_logs", summary="Collected logs, newest first",
    responses=problems(401, 403, 404),
)  # fmt: skip
def list_logs(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    station: Annotated[Code | None, Query(description="only of this one")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[LogOut]:
    before = runtime.cursors.read("device-logs", cursor)
    station_id = None if station is None else find_station(session, station).id
    rows = collect.logs_of(session, station_id=station_id, limit=limit + 1, before=UUID(before) if before else None)
    more = runtime.cursors.make("device-logs", str(rows[limit - 1].id)) if len(rows) > limit else None
    codes = {row.station_id: session.get_one(Station, row.station_id).code for row in rows}
    return Page(items=[LogOut.of(row, codes[row.station_id]) for row in rows[:limit]], next=more)


@router.get(
    "/device-log/{log_id}", operation_id="get_device_log", summary="How far a log is", responses=problems(401, 403, 404)
)
def get_log(log_id: UUID, session: SessionDep, _: CurrentOperator) -> LogOut:
    log = collect.get_log(session, log_id)
    return LogOut.of(log, session.get_one(Station, log.station_id).code)


@router.get(
    "/device-log/{log_id}/content", operation_id="download_device_log", summary="What has come of a log, as gzip",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/gzip": {}}, "description": "A gzip file."},
        **problems(401, 403, 404, 409),
    },
)  # fmt: skip
def download_log(log_id: UUID, acts: ActsDep) -> StreamingResponse:
    """Of an incomplete log, the pieces that are here."""
    pieces = collect.content_gzip(acts.session, log_id)
    acts.record("device_log.download", target=str(log_id))
    name = f'attachment; filename="{log_id}.log.gz"'
    return StreamingResponse(pieces, media_type="application/gzip", headers={"Content-Disposition": name})
