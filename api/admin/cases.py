from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from api.admin.acts import Acts, ActsDep
from api.admin.care_schemas import AssignIn, FoundIn, ResumeIn
from api.admin.schemas import CaseOut, ResolveIn
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.idempotency import Idempotent, IdempotentIfKeyed
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.rentals.cases import service as cases
from fleet.rentals.cases.models import CaseState
from fleet.rentals.corrections import desk
from fleet.rentals.corrections.desk import CaseAct

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


def _work(acts: Acts, case_id: UUID, reason: str) -> CaseAct:
    return CaseAct(acts.session, case_id, reason, acts.actor, acts.now)


@router.post(
    "/orphan-case/{case_id}/found", operation_id="admin_found_orphan_bank", summary="The bank was found",
    response_model=CaseOut, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def found(case_id: UUID, body: FoundIn, acts: ActsDep, once: IdempotentIfKeyed) -> Response:
    """In a slot that cannot tell of it, or in somebody's hands."""
    act = _work(acts, case_id, body.reason)
    return once.answer(acts.session, acts.now, lambda: CaseOut.of(desk.found(act, body.place)))


@router.post(
    "/orphan-case/{case_id}/lost", operation_id="admin_lost_orphan_bank", summary="The bank is given up for lost",
    response_model=CaseOut, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def lost(case_id: UUID, body: ResumeIn, acts: ActsDep, once: IdempotentIfKeyed) -> Response:
    """A bank that lies in a slot cannot be lost (409)."""
    act = _work(acts, case_id, body.reason)
    return once.answer(acts.session, acts.now, lambda: CaseOut.of(desk.lost(act)))


@router.post(
    "/orphan-case/{case_id}/foreign", operation_id="admin_foreign_orphan_bank",
    summary="The bank is not one of the fleet's", response_model=CaseOut, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def foreign(case_id: UUID, body: ResumeIn, acts: ActsDep, once: IdempotentIfKeyed) -> Response:
    """No cabinet gives it to a rider any more."""
    act = _work(acts, case_id, body.reason)
    return once.answer(acts.session, acts.now, lambda: CaseOut.of(desk.foreign(act)))


@router.post(
    "/orphan-case/{case_id}/assign", operation_id="admin_assign_orphan_bank", response_model=CaseOut,
    summary="The bank is with the rider of a rental", responses=problems(401, 403, 404, 409),
)  # fmt: skip
def assign(case_id: UUID, body: AssignIn, acts: ActsDep, runtime: RuntimeDep, once: Idempotent) -> Response:
    """A rental that was thought to have failed is open again since the bank left; one that is open follows the bank."""

    def work() -> CaseOut:
        return CaseOut.of(desk.assign(_work(acts, case_id, body.reason), body.rental_id, runtime.policy))

    return once.answer(acts.session, acts.now, work)
