"""What riders ask of the backend: one request each, sent again when it was cut off."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.rentals.corrections import disputes
from fleet.rentals.corrections.models import DisputeReason
from fleet.rentals.models import SwapReason
from fleet.rentals.starts import reservations
from fleet.rentals.starts import service as starts
from fleet.rentals.starts.models import Reservation
from fleet.rentals.starts.payment_plans import PaymentPlan
from fleet.rentals.underway import cancels, claims, extensions, problems, swaps
from fleet.rentals.underway.problems import ProblemKind
from tests.model.backend import POLICY, Backend


def start(
    backend: Backend, rider: UUID, code: str, package: UUID | None, dies: int | None, *, pay: PaymentPlan
) -> UUID | FleetError | None:
    return backend.once(
        rider,
        dies,
        lambda session: starts.start(
            session, user_id=rider, station_code=code, slot=None, now=backend.now, policy=POLICY, package_id=package,
            plan=pay,
        ).id,
    )  # fmt: skip


def cancel(backend: Backend, rider: UUID, rental_id: UUID, dies: int | None) -> FleetError | None:
    """What was refused, if it was."""

    def work(session: Session) -> None:
        cancels.cancel(session, user_id=rider, rental_id=rental_id, now=backend.now, policy=POLICY)

    return backend.request(dies, work)


def reserve(backend: Backend, rider: UUID, code: str, dies: int | None) -> UUID | FleetError | None:
    return backend.once(
        rider,
        dies,
        lambda session: (
            reservations.reserve(
                session, user_id=rider, station_code=code, slot=None, now=backend.now, policy=POLICY
            ).id
        ),
    )


def reservation(backend: Backend, rider: UUID, reservation_id: UUID) -> Reservation:
    with backend.transaction() as session:
        return reservations.reservation_of(session, rider, reservation_id)


def cancel_reservation(backend: Backend, rider: UUID, reservation_id: UUID, dies: int | None) -> FleetError | None:
    def work(session: Session) -> None:
        reservations.cancel_reservation(session, user_id=rider, reservation_id=reservation_id, now=backend.now)

    return backend.request(dies, work)


def swap(
    backend: Backend, rider: UUID, rental_id: UUID, code: str, reason: SwapReason, dies: int | None
) -> FleetError | None:
    def work(session: Session) -> None:
        swaps.ask_swap(
            session, user_id=rider, rental_id=rental_id, station_code=code, reason=reason, now=backend.now,
            policy=POLICY,
        )  # fmt: skip

    return backend.request(dies, work)


def extend(backend: Backend, rider: UUID, rental_id: UUID, package: UUID, dies: int | None) -> UUID | FleetError | None:
    return backend.once(
        rider,
        dies,
        lambda session: (
            extensions.extend(session, user_id=rider, rental_id=rental_id, package_id=package, now=backend.now).id
        ),
    )


def problem(
    backend: Backend, rider: UUID, rental_id: UUID, code: str, dies: int | None
) -> datetime | FleetError | None:
    """Until when billing is paused."""
    return backend.request(
        dies,
        lambda session: problems.report_return_problem(
            session, user_id=rider, rental_id=rental_id, station_code=code, kind=ProblemKind.FULL, note=None,
            policy=POLICY, now=backend.now,
        ).paused_until,
    )  # fmt: skip


def dispute(backend: Backend, rider: UUID, rental_id: UUID, dies: int | None) -> FleetError | None:
    def work(session: Session) -> None:
        disputes.open_dispute(
            session, user_id=rider, rental_id=rental_id, reason=DisputeReason.OVERCHARGED, note=None, policy=POLICY,
            now=backend.now,
        )  # fmt: skip

    return backend.request(dies, work)


def claim_return(
    backend: Backend, rider: UUID, rental_id: UUID, code: str, slot: int, dies: int | None
) -> UUID | FleetError:
    """The bank is in a slot of a station that has not told of it; the claim's id."""
    return backend.request(
        dies,
        lambda session: (
            claims.claim_return(
                session,
                user_id=rider,
                rental_id=rental_id,
                station_code=code,
                slot=slot,
                policy=POLICY,
                now=backend.now,
            ).id
        ),
    )
