"""Whether stations were there, since when, and why not."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query

from api.admin.device_schemas import AvailabilityOut, OfflineTimeOut, OfflineTimes, StatusSpellOut
from api.admin.schemas import Code
from api.auth import CurrentOperator
from api.deps import Now, RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Instant, Limit, Page
from api.v1 import area
from fleet.common.errors import InvalidInput
from fleet.devices import availability
from fleet.stations.queries import find_station

router = area("admin", "admin")

_DAY = timedelta(days=1)
_LONGEST = timedelta(days=400)
Since = Annotated[Instant | None, Query(description="default: a day before `until`")]
Until = Annotated[Instant | None, Query(description="default: now")]


@router.get(
    "/station/{code}/status-history", operation_id="admin_status_history",
    summary="Each change of a station's presence or status, with its cause and how long it lasted",
    responses=problems(401, 403, 404),
)  # fmt: skip
def status_history(
    code: Code,
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    now: Now,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[StatusSpellOut]:
    """Newest first."""
    station = find_station(session, code)
    before = runtime.cursors.read("status-history", cursor)
    found = availability.status_history(session, station.id, limit=limit + 1, before=before)
    more = runtime.cursors.make("status-history", found[limit - 1].id) if len(found) > limit else None
    return Page(items=[StatusSpellOut.of(spell, now) for spell in found[:limit]], next=more)


@router.get(
    "/station/{code}/availability", operation_id="admin_station_availability",
    summary="How a station spent a period, and its time offline by cause", responses=problems(401, 403, 404),
)  # fmt: skip
def station_availability(
    code: Code, session: SessionDep, _: CurrentOperator, now: Now, since: Since = None, until: Until = None
) -> AvailabilityOut:
    begin, end = _period(since, until, now)
    station = find_station(session, code)
    return AvailabilityOut.of(code, availability.availability(session, station.id, begin, end))


@router.get(
    "/offline-time", operation_id="admin_offline_time", summary="Time that stations were offline, by cause",
    responses=problems(401, 403),
)  # fmt: skip
def offline_time(
    session: SessionDep,
    _: CurrentOperator,
    now: Now,
    since: Since = None,
    until: Until = None,
    city: Annotated[str | None, Query(max_length=100)] = None,
) -> OfflineTimes:
    begin, end = _period(since, until, now)
    rows = availability.offline_by_cause(session, begin, end, city=city)
    return OfflineTimes(since=begin, until=end, items=[OfflineTimeOut.of(row) for row in rows])


def _period(since: datetime | None, until: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Raises InvalidInput."""
    end = min(until or now, now)
    begin = since or end - _DAY
    if begin >= end:
        raise InvalidInput("`since` must be before `until`, and in the past", field="since")
    if end - begin > _LONGEST:
        raise InvalidInput(f"a period has at most {_LONGEST.days} days", field="since")
    return begin, end
