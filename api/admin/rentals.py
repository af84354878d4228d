from typing import Annotated
from uuid import UUID

from fastapi import Query

from api.admin.schemas import Code, RentalForOperator, Trace, TraceEntryOut
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.rentals import queries
from fleet.rentals.models import RentalState
from fleet.rentals.records.trace import trace as trace_of
from fleet.stations.queries import find_station

router = area("admin", "admin")


@router.get("/rental", operation_id="admin_list_rentals", summary="Rentals, newest first",
            responses=problems(401, 403, 404))  # fmt: skip
def list_rentals(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: RentalState | None = None,
    user_id: UUID | None = None,
    station: Annotated[Code | None, Query(description="where the bank left")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[RentalForOperator]:
    before = runtime.cursors.read("admin-rentals", cursor)
    rows = queries.find_rentals(
        session,
        limit=limit + 1,
        before=UUID(before) if before else None,
        user_id=user_id,
        state=state,
        station_id=find_station(session, station).id if station is not None else None,
    )
    more = runtime.cursors.make("admin-rentals", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[RentalForOperator.of(row) for row in rows[:limit]], next=more)


@router.get(
    "/rental/{rental_id}", operation_id="admin_get_rental", summary="One rental, whoever's it is",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_rental(rental_id: UUID, session: SessionDep, _: CurrentOperator) -> RentalForOperator:
    return RentalForOperator.of(queries.rental_by_id(session, rental_id))


@router.get(
    "/rental/{rental_id}/trace", operation_id="admin_trace_rental",
    summary="The whole trail of a rental: requests, commands, frames, movements, money, in time order",
    responses=problems(401, 403, 404),
)  # fmt: skip
def trace(rental_id: UUID, session: SessionDep, _: CurrentOperator) -> Trace:
    rental = queries.rental_by_id(session, rental_id)
    entries = [TraceEntryOut.model_validate(entry) for entry in trace_of(session, rental_id)]
    return Trace(rental=RentalForOperator.of(rental), entries=entries)
