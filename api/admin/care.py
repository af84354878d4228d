"""What riders said and reported, for operators to look at."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from api.admin.acts import ActsDep
from api.admin.care_schemas import ConfirmClaimIn, DecideDisputeIn, ResumeIn
from api.admin.corrections import corrected
from api.admin.schemas import RentalForOperator, ResolveIn
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.idempotency import Idempotent
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.rentals.care_schemas import DisputeOut, IssueOut, ReturnClaimOut, ReturnPhotoOut, ReturnPhotos
from api.rentals.photos import JPEG, shown
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from fleet.rentals.corrections import disputes
from fleet.rentals.corrections import service as corrections
from fleet.rentals.corrections.models import DisputeState
from fleet.rentals.underway import claims, issues, photos
from fleet.rentals.underway.models import ClaimState, IssueState

router = area("admin", "admin")


@router.get(
    "/return-claim", operation_id="admin_list_return_claims", summary="Returns that riders say have happened",
    responses=problems(401, 403),
)  # fmt: skip
def list_claims(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: Annotated[ClaimState | None, Query(description="left out: all")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ReturnClaimOut]:
    """Newest first. The station decides most of them; a silent one leaves them to people."""
    before = runtime.cursors.read("return-claims", cursor)
    rows = claims.page(session, state, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("return-claims", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[ReturnClaimOut.of(row) for row in rows[:limit]], next=more)


@router.get(
    "/return-claim/{claim_id}/photo", operation_id="admin_list_return_photos", summary="What the rider shows of it",
    responses=problems(401, 403),
)  # fmt: skip
def list_photos(claim_id: UUID, session: SessionDep, _: CurrentOperator) -> ReturnPhotos:
    found = photos.of_claim(session, claim_id)
    return ReturnPhotos(items=[ReturnPhotoOut.model_validate(each) for each in found])


@router.get(
    "/return-photo/{photo_id}", operation_id="admin_get_return_photo", summary="A rider's photo",
    response_class=Response, responses={**problems(401, 403, 404), **JPEG},
)  # fmt: skip
def get_photo(photo_id: UUID, acts: ActsDep) -> Response:
    """Noted in the log of operators' acts."""
    photo = photos.photo_by_id(acts.session, photo_id)
    acts.record("return_photo.view", target=str(photo_id))
    return shown(photo)


@router.post(
    "/rental/{rental_id}/return-claim/confirm", operation_id="admin_confirm_return_claim",
    response_model=RentalForOperator, summary="The bank is where its rider says: close the rental as of then",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def confirm_claim(rental_id: UUID, body: ConfirmClaimIn, acts: ActsDep, once: Idempotent) -> Response:
    """`station` and `slot`: where it is, if not in the slot that the rider named."""
    return corrected(acts, once, rental_id, body.reason, lambda act: corrections.confirm_claim(act, place=body.place))


@router.post(
    "/rental/{rental_id}/return-claim/refute", operation_id="admin_refute_return_claim",
    response_model=RentalForOperator, summary="The bank is not where its rider says: billing goes on, as of the claim",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def refute_claim(rental_id: UUID, body: ResumeIn, acts: ActsDep, once: Idempotent) -> Response:
    return corrected(acts, once, rental_id, body.reason, corrections.refute_claim)


@router.get(
    "/rental-issue", operation_id="admin_list_rental_issues", summary="What riders reported of their rentals",
    responses=problems(401, 403),
)  # fmt: skip
def list_issues(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: Annotated[IssueState | None, Query(description="left out: all")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[IssueOut]:
    """Newest first."""
    before = runtime.cursors.read("rental-issues", cursor)
    rows = issues.page(session, state, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("rental-issues", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[IssueOut.of(row) for row in rows[:limit]], next=more)


@router.post(
    "/rental-issue/{issue_id}/resolve", operation_id="admin_resolve_rental_issue", summary="Close a report",
    responses=problems(401, 403, 404),
)  # fmt: skip
def resolve_issue(issue_id: UUID, body: ResolveIn, acts: ActsDep) -> IssueOut:
    """A report that is closed already stays as it is."""
    issue = issues.resolve(acts.session, issue_id, body.resolution, acts.now)
    acts.record("rental_issue.resolve", target=str(issue_id), user_id=issue.user_id, detail=body.model_dump())
    return IssueOut.of(issue)


@router.get(
    "/dispute", operation_id="admin_list_disputes", summary="Rentals that riders do not agree with",
    responses=problems(401, 403),
)  # fmt: skip
def list_disputes(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    state: Annotated[DisputeState | None, Query(description="left out: all")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[DisputeOut]:
    """Newest first."""
    before = runtime.cursors.read("disputes", cursor)
    rows = disputes.page(session, state, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("disputes", str(rows[limit - 1][0].id)) if len(rows) > limit else None
    return Page(items=[DisputeOut.of(*row) for row in rows[:limit]], next=more)


@router.post(
    "/rental/{rental_id}/dispute/decide", operation_id="admin_decide_dispute", response_model=RentalForOperator,
    summary="Decide a dispute: all of the price comes back, a part, or nothing",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def decide_dispute(rental_id: UUID, body: DecideDisputeIn, acts: ActsDep, once: Idempotent) -> Response:
    """What is owed is owed no more, then what was paid comes back. Decided once."""
    return corrected(acts, once, rental_id, body.reason, lambda act: disputes.decide(act, body.refund_minor))
