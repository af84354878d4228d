"""Operators put rentals right. Each needs a key: sent again with it, the first answer comes back."""

from collections.abc import Callable
from uuid import UUID

from fastapi import Response

from api.admin.acts import Acts, ActsDep
from api.admin.care_schemas import BackDateIn, ForceCancelIn, ForceCompleteIn, PauseIn, ReassignIn, ResumeIn
from api.admin.schemas import RentalForOperator
from api.idempotency import Idempotent, Once
from api.problems import problems
from api.v1 import area
from fleet.rentals import queries
from fleet.rentals.corrections import clocks as clock_corrections
from fleet.rentals.corrections import service as corrections
from fleet.rentals.corrections.service import Act

router = area("admin", "admin")
_PROBLEMS = problems(401, 403, 404, 409)


def corrected(acts: Acts, once: Once, rental_id: UUID, reason: str, work: Callable[[Act], object]) -> Response:
    """The rental after one act of an operator, once per key."""

    def render() -> RentalForOperator:
        work(Act(acts.session, rental_id, reason, acts.actor, acts.now))
        acts.session.flush()  # the rental is read back with its stations and its bank
        return RentalForOperator.of(queries.rental_by_id(acts.session, rental_id))

    return once.answer(acts.session, acts.now, render)


@router.post(
    "/rental/{rental_id}/force-complete", operation_id="admin_force_complete", response_model=RentalForOperator,
    summary="Close a rental: the bank was given back", responses=_PROBLEMS,
)  # fmt: skip
def force_complete(rental_id: UUID, body: ForceCompleteIn, acts: ActsDep, once: Idempotent) -> Response:
    """Charged until `at`. The bank is put into its slot in the books, or a case asks for it."""
    return corrected(
        acts, once, rental_id, body.reason, lambda act: corrections.force_complete(act, at=body.at, place=body.place)
    )


@router.post(
    "/rental/{rental_id}/force-cancel", operation_id="admin_force_cancel", response_model=RentalForOperator,
    summary="Cancel a rental: the rider never had the bank", responses=_PROBLEMS,
)  # fmt: skip
def force_cancel(rental_id: UUID, body: ForceCancelIn, acts: ActsDep, once: Idempotent) -> Response:
    """Nothing is charged. An order that is out cannot be called back: a bank that leaves by it re-opens the rental."""
    return corrected(acts, once, rental_id, body.reason, lambda act: corrections.force_cancel(act, place=body.place))


@router.post(
    "/rental/{rental_id}/reassign-bank", operation_id="admin_reassign_bank", response_model=RentalForOperator,
    summary="The rider has another bank than the books say", responses=_PROBLEMS,
)  # fmt: skip
def reassign_bank(rental_id: UUID, body: ReassignIn, acts: ActsDep, once: Idempotent) -> Response:
    """`station` and `slot` are those of the bank that the rider does not have."""
    return corrected(
        acts, once, rental_id, body.reason, lambda act: corrections.reassign_bank(act, body.serial, place=body.place)
    )


@router.post(
    "/rental/{rental_id}/back-date", operation_id="admin_back_date", response_model=RentalForOperator,
    summary="The bank of a closed rental was back earlier", responses=_PROBLEMS,
)  # fmt: skip
def back_date(rental_id: UUID, body: BackDateIn, acts: ActsDep, once: Idempotent) -> Response:
    """What was charged beyond that is given back. A closed rental never becomes dearer."""
    return corrected(
        acts, once, rental_id, body.reason, lambda act: corrections.back_date(act, body.at, place=body.place)
    )


@router.post(
    "/rental/{rental_id}/pause-billing", operation_id="admin_pause_billing", response_model=RentalForOperator,
    summary="Stop a rental's clock", responses=_PROBLEMS,
)  # fmt: skip
def pause_billing(rental_id: UUID, body: PauseIn, acts: ActsDep, once: Idempotent) -> Response:
    """From now, or from a time since its start."""
    return corrected(
        acts,
        once,
        rental_id,
        body.reason,
        lambda act: clock_corrections.pause_billing(act, since=body.since, until=body.until),
    )


@router.post(
    "/rental/{rental_id}/resume-billing", operation_id="admin_resume_billing", response_model=RentalForOperator,
    summary="Let a rental's clock go on", responses=_PROBLEMS,
)  # fmt: skip
def resume_billing(rental_id: UUID, body: ResumeIn, acts: ActsDep, once: Idempotent) -> Response:
    """When nothing is paused, nothing changes."""
    return corrected(acts, once, rental_id, body.reason, clock_corrections.resume_billing)
