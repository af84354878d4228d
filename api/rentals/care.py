"""What riders report of a rental: the station cannot take the bank, the bank is in a slot, something is broken."""

from uuid import UUID

from api.auth import CurrentUser
from api.deps import Now, RuntimeDep, SessionDep
from api.problems import problems
from api.rentals.care_schemas import (
    DisputeIn,
    DisputeOut,
    IssueIn,
    IssueOut,
    Issues,
    ReturnClaimIn,
    ReturnClaimOut,
    ReturnProblemIn,
    ReturnProblemOut,
)
from api.v1 import area
from fleet.rentals import queries
from fleet.rentals.corrections import disputes
from fleet.rentals.underway import claims, issues
from fleet.rentals.underway import problems as return_problems

router = area("rental", "rentals")


@router.post(
    "/{rental_id}/return-problem", operation_id="report_return_problem",
    summary="The station cannot take the bank: pause billing, and where else it can go",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def return_problem(
    rental_id: UUID, body: ReturnProblemIn, session: SessionDep, runtime: RuntimeDep, user: CurrentUser, now: Now
) -> ReturnProblemOut:
    """Nothing is charged for the grace period; after it, unless the bank is back, billing goes on by itself."""
    found = return_problems.report_return_problem(
        session,
        user_id=user.id,
        rental_id=rental_id,
        station_code=body.station,
        kind=body.kind,
        note=body.note,
        policy=runtime.policy,
        now=now,
        position=body.position,
    )
    return ReturnProblemOut.of(found)


@router.post(
    "/{rental_id}/return-claim", operation_id="claim_return",
    summary="The bank is in a slot, and the station has not said so", responses=problems(401, 403, 404, 409),
)  # fmt: skip
def claim_return(
    rental_id: UUID, body: ReturnClaimIn, session: SessionDep, runtime: RuntimeDep, user: CurrentUser, now: Now
) -> ReturnClaimOut:
    """Billing is paused until the station tells what is in its slots, or an operator has looked."""
    claim = claims.claim_return(
        session,
        user_id=user.id,
        rental_id=rental_id,
        station_code=body.station,
        slot=body.slot,
        policy=runtime.policy,
        now=now,
    )
    return ReturnClaimOut.of(claim)


@router.get(
    "/{rental_id}/return-claim", operation_id="get_return_claim", summary="What became of my word about the return",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_return_claim(rental_id: UUID, session: SessionDep, user: CurrentUser) -> ReturnClaimOut:
    return ReturnClaimOut.of(claims.of_rental(session, user.id, rental_id))


@router.post(
    "/{rental_id}/issue", operation_id="report_rental_issue", summary="Something is wrong with the bank or the rental",
    responses=problems(401, 403, 404),
)  # fmt: skip
def report_issue(rental_id: UUID, body: IssueIn, session: SessionDep, user: CurrentUser, now: Now) -> IssueOut:
    """While a report of the same kind is open, sending it again changes nothing."""
    issue = issues.report(session, user_id=user.id, rental_id=rental_id, kind=body.kind, note=body.note, now=now)
    return IssueOut.of(issue)


@router.get(
    "/{rental_id}/issue", operation_id="list_rental_issues", summary="My reports about one rental",
    responses=problems(401, 403, 404),
)  # fmt: skip
def list_issues(rental_id: UUID, session: SessionDep, user: CurrentUser) -> Issues:
    return Issues(items=[IssueOut.of(each) for each in issues.of_rental(session, user.id, rental_id)])


@router.post(
    "/{rental_id}/dispute", operation_id="dispute_rental", summary="I do not agree with what it cost",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def dispute(
    rental_id: UUID, body: DisputeIn, session: SessionDep, runtime: RuntimeDep, user: CurrentUser, now: Now
) -> DisputeOut:
    """Once a rental, after it has ended; an operator decides. While it is open, sending it again changes nothing."""
    found = disputes.open_dispute(
        session,
        user_id=user.id,
        rental_id=rental_id,
        reason=body.reason,
        note=body.note,
        policy=runtime.policy,
        now=now,
    )
    return DisputeOut.of(found, queries.rental_of(session, user.id, rental_id).currency)


@router.get(
    "/{rental_id}/dispute", operation_id="get_rental_dispute", summary="What became of my dispute",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_dispute(rental_id: UUID, session: SessionDep, user: CurrentUser) -> DisputeOut:
    found = disputes.dispute_of(session, user.id, rental_id)
    return DisputeOut.of(found, queries.rental_of(session, user.id, rental_id).currency)
