from typing import Annotated
from uuid import UUID

from fastapi import Query

from api.admin.acts import ActsDep
from api.admin.schemas import CaseOut, ResolveIn
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.rentals import cases
from fleet.rentals.models import CaseState

router = area("admin", "admin")


@router.get(
    "/orphan-case", operation_id="admin_list_orphan_cases", summary="Banks that left and that no rental explains",
    responses=problems(401, 403),
)  # fmt: skip
def list_cases(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: Annotated[CaseState | None, Query(description="left out: all")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[CaseOut]:
    """Newest first."""
    before = runtime.cursors.read("cases", cursor)
    rows = cases.list_cases(session, state, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("cases", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[CaseOut.of(row) for row in rows[:limit]], next=more)


@router.post(
    "/orphan-case/{case_id}/resolve", operation_id="admin_resolve_orphan_case", summary="Close a case",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def resolve(case_id: UUID, body: ResolveIn, acts: ActsDep) -> CaseOut:
    """A case whose bank comes back is closed by itself."""
    case = cases.resolve_case(acts.session, case_id, body.resolution, acts.now)
    acts.record("orphan_case.resolve", target=str(case_id), detail=body.model_dump())
    return CaseOut.of(case)
