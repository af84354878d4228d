"""Saved cards. Apps send the provider's one-time token; a card's number never comes here."""

from uuid import UUID

from fastapi import Response

from api.auth import CurrentUser, WaitingUser
from api.deps import Now, RuntimeDep, SessionDep
from api.idempotency import Idempotent, replay
from api.payments.schemas import MethodIn, MethodOut, Methods
from api.problems import problems
from api.v1 import area
from fleet.db import session_scope
from fleet.payments import methods
from fleet.rentals.starts import guests

router = area("payment", "payments")


@router.get("/method", operation_id="list_payment_methods", summary="My saved cards, the default first",
            responses=problems(401, 403))  # fmt: skip
def list_methods(session: SessionDep, user: CurrentUser) -> Methods:
    return Methods(items=[MethodOut.model_validate(method) for method in methods.methods_of(session, user.id)])


@router.post("/method", operation_id="add_payment_method", summary="Save a card", status_code=201,
             response_model=MethodOut, responses=problems(401, 403, 409))  # fmt: skip
def add_method(body: MethodIn, runtime: RuntimeDep, user: WaitingUser, now: Now, once: Idempotent) -> Response:
    """The first one is the default. The provider is called outside any transaction."""
    stored = once.stored(runtime.engine, now)
    if stored is not None:
        return replay(stored)
    provider = runtime.provider
    saved = methods.at_provider(
        lambda: session_scope(runtime.engine), user_id=user.id, token=body.token, provider=provider
    )
    with session_scope(runtime.engine) as session:

        def work() -> MethodOut:
            return MethodOut.model_validate(methods.keep(session, user.id, provider.name, saved, now))

        return once.answer(session, now, work, status=201)


@router.post("/method/{method_id}/default", operation_id="set_default_payment_method",
             summary="Pay with this one when nothing else is said", responses=problems(401, 403, 404))  # fmt: skip
def set_default(method_id: UUID, session: SessionDep, user: CurrentUser) -> MethodOut:
    return MethodOut.model_validate(methods.make_default(session, user.id, method_id))


@router.delete("/method/{method_id}", operation_id="remove_payment_method", summary="Forget a card", status_code=204,
               responses=problems(401, 403, 404, 409))  # fmt: skip
def remove_method(method_id: UUID, session: SessionDep, user: CurrentUser, now: Now) -> None:
    """Here at once, at the provider soon after. What it has set aside for an open rental stays. A guest's card is kept
    (409) while they rent or owe.
    """
    guests.forget_card(session, user, method_id, now)
