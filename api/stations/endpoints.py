from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.deps import Now, ReadingDep, RuntimeDep
from api.etag import NOT_MODIFIED, tagged
from api.live import stream_responses
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.stations import events
from api.stations.schemas import Nearby, StationPage, StationSummary
from api.v1 import area
from fleet.db import session_scope
from fleet.rentals.tariffs.queries import find_tariff
from fleet.stations import queries
from fleet.stations.queries import Only

router = area("station", "stations")

Stations = Page[StationSummary]
Code = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["ZRH-0001"])]


@router.get(
    "", operation_id="list_stations", summary="All stations, or those a search finds",
    response_model=Stations, responses=problems() | NOT_MODIFIED,
)  # fmt: skip
def list_stations(
    request: Request,
    session: ReadingDep,
    runtime: RuntimeDep,
    now: Now,
    q: Annotated[str | None, Query(max_length=100, description="in code, name or address")] = None,
    city: Annotated[str | None, Query(max_length=100)] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    rows = queries.station_page(
        session,
        limit=limit + 1,
        now=now,
        min_charge_pct=runtime.policy.min_charge_pct,
        after_id=runtime.cursors.read("stations", cursor),
        search=q,
        city=city,
    )
    more = runtime.cursors.make("stations", rows[limit - 1].id) if len(rows) > limit else None
    return tagged(request, Stations.model_validate({"items": rows[:limit], "next": more}))


@router.get(
    "/nearby", operation_id="nearby_stations", summary="Stations around a point, nearest first",
    response_model=Nearby, responses=problems() | NOT_MODIFIED,
)  # fmt: skip
def nearby(
    request: Request,
    session: ReadingDep,
    runtime: RuntimeDep,
    now: Now,
    lat: Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False, examples=[47.3769])],
    lon: Annotated[float, Query(ge=-180, le=180, allow_inf_nan=False, examples=[8.5417])],
    radius_m: Annotated[float, Query(gt=0, le=50_000, allow_inf_nan=False)] = 2000,
    limit: Limit = DEFAULT_LIMIT,
    only: Annotated[Only | None, Query(description="that can give a bank, or take one back")] = None,
) -> Response:
    rows = queries.nearby(
        session,
        latitude=lat,
        longitude=lon,
        radius_m=radius_m,
        limit=limit,
        now=now,
        min_charge_pct=runtime.policy.min_charge_pct,
        only=only,
    )
    return tagged(request, Nearby.model_validate({"items": rows}))


def _watched(
    runtime: RuntimeDep,
    code: Annotated[list[str], Query(min_length=1, max_length=events.MAX_STATIONS, examples=[["ZRH-0001"]])],
) -> dict[str, str]:
    with session_scope(runtime.engine) as session:
        return events.station_ids(session, code)


@router.get(
    "/events",
    operation_id="station_events",
    summary="Live changes of some stations (server-sent events)",
    response_class=EventSourceResponse,
    responses=stream_responses("Events `station`, each with a StationLive: first of all, then of what changes", 404),
)
async def station_events(
    runtime: RuntimeDep, codes: Annotated[dict[str, str], Depends(_watched)]
) -> AsyncIterator[ServerSentEvent]:
    """Repeat `code` for each station. A stream ends after 15 minutes at the latest: come back."""
    async for event in events.stream(runtime, codes):
        yield event


@router.get(
    "/{code}", operation_id="get_station", summary="One station with its slots and its tariff",
    response_model=StationPage, responses=problems(404) | NOT_MODIFIED,
)  # fmt: skip
def get_station(request: Request, code: Code, session: ReadingDep, runtime: RuntimeDep, now: Now) -> Response:
    found = queries.station_view(session, code, now=now, min_charge_pct=runtime.policy.min_charge_pct)
    page = StationPage.of(found, find_tariff(session, found, now))
    return tagged(request, page, ignoring=frozenset({"heard_at", "inventory_at"}))
