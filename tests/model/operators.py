"""What operators put right, each act under its own `Idempotency-Key`."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.payments.outgoing import refunds
from fleet.rentals.cases.places import Place
from fleet.rentals.corrections import clocks as clock_corrections
from fleet.rentals.corrections import disputes
from fleet.rentals.corrections import service as corrections
from fleet.rentals.corrections.service import Act
from fleet.users.audit import Actor
from tests.model.backend import Backend

Refusal = FleetError | None


def _act(backend: Backend, who: UUID, rental_id: UUID, dies: int | None, do: Callable[[Act], object]) -> Refusal:
    def work(session: Session) -> None:
        do(Act(session, rental_id, "model", Actor(user_id=who), backend.now))

    answer = backend.once(who, dies, work)
    return answer if isinstance(answer, FleetError) else None


def force_complete(
    backend: Backend, who: UUID, rental_id: UUID, place: tuple[str, int] | None, dies: int | None
) -> Refusal:
    where = None if place is None else Place(*place)
    return _act(backend, who, rental_id, dies, lambda act: corrections.force_complete(act, place=where))


def force_cancel(
    backend: Backend, who: UUID, rental_id: UUID, place: tuple[str, int] | None, dies: int | None
) -> Refusal:
    where = None if place is None else Place(*place)
    return _act(backend, who, rental_id, dies, lambda act: corrections.force_cancel(act, place=where))


def back_date(
    backend: Backend, who: UUID, rental_id: UUID, at: datetime, place: tuple[str, int] | None, dies: int | None
) -> Refusal:
    where = None if place is None else Place(*place)
    return _act(backend, who, rental_id, dies, lambda act: corrections.back_date(act, at, place=where))


def pause(backend: Backend, who: UUID, rental_id: UUID, dies: int | None) -> Refusal:
    return _act(backend, who, rental_id, dies, clock_corrections.pause_billing)


def resume(backend: Backend, who: UUID, rental_id: UUID, dies: int | None) -> Refusal:
    return _act(backend, who, rental_id, dies, clock_corrections.resume_billing)


def decide(backend: Backend, who: UUID, rental_id: UUID, refund_minor: int | None, dies: int | None) -> Refusal:
    return _act(backend, who, rental_id, dies, lambda act: disputes.decide(act, refund_minor))


def refund_rental(
    backend: Backend, who: UUID, rider: UUID, rental_id: UUID, amount: int, dies: int | None
) -> UUID | FleetError | None:
    """Asked for by the rider and agreed to at once."""

    def work(session: Session) -> UUID:
        asked = refunds.request_for_rental(
            session, rental_id=rental_id, user_id=rider, requested_by=rider, amount_minor=amount, reason="model",
            now=backend.now,
        )  # fmt: skip
        return refunds.approve(session, asked.id, approver_id=who, now=backend.now).id

    return backend.once(rider, dies, work)


def refund_top_up(
    backend: Backend, who: UUID, rider: UUID, intent_id: UUID, amount: int, dies: int | None
) -> UUID | FleetError | None:
    def work(session: Session) -> UUID:
        asked = refunds.request_for_top_up(
            session, intent_id=intent_id, user_id=rider, amount_minor=amount, reason="model", now=backend.now
        )
        return refunds.approve(session, asked.id, approver_id=who, now=backend.now).id

    return backend.once(rider, dies, work)


def confirm_claim(backend: Backend, who: UUID, rental_id: UUID, dies: int | None) -> Refusal:
    return _act(backend, who, rental_id, dies, corrections.confirm_claim)


def refute_claim(backend: Backend, who: UUID, rental_id: UUID, dies: int | None) -> Refusal:
    return _act(backend, who, rental_id, dies, corrections.refute_claim)


def reassign(
    backend: Backend, who: UUID, rental_id: UUID, serial: str, place: tuple[str, int] | None, dies: int | None
) -> Refusal:
    where = None if place is None else Place(*place)
    return _act(backend, who, rental_id, dies, lambda act: corrections.reassign_bank(act, serial, place=where))
