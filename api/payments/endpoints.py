from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from api.auth import CurrentAccount, CurrentUser, ReadingUser, WaitingUser
from api.deps import Now, ReadingDep, RuntimeDep, SessionDep
from api.etag import NOT_MODIFIED, tagged
from api.idempotency import Idempotent, Once, replay
from api.paging import DEFAULT_LIMIT
from api.payments.schemas import (
    ConfirmIn,
    IntentOut,
    PointsOut,
    StatementLineOut,
    TopUpIn,
    WalletOut,
    WebhookTaken,
)
from api.problems import problems
from api.runtime import Runtime
from api.schemas import Currency, Cursor, Limit, Page
from api.v1 import area
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments import intents, kept_cards, statements, topups, wallets, webhooks
from fleet.payments.errors import UnknownProvider
from fleet.payments.points import as_points
from fleet.users.models import User

router = area("payment", "payments")


@router.get(
    "/wallet", operation_id="get_wallet", summary="What I have, what is held, what I can spend",
    response_model=WalletOut, responses=problems(401, 403) | NOT_MODIFIED,
)  # fmt: skip
def wallet(
    request: Request,
    session: ReadingDep,
    runtime: RuntimeDep,
    user: ReadingUser,
    currency: Currency | None = None,
) -> Response:
    """`currency` defaults to the fleet's own."""
    found = wallets.wallet_balance(session, user.id, currency or runtime.settings.currency)
    return tagged(request, WalletOut.of(found))


@router.get(
    "/points", operation_id="get_points", summary="My points money: what I have, what is held, what I can spend",
    responses=problems(401, 403),
)  # fmt: skip
def points(session: ReadingDep, runtime: RuntimeDep, user: ReadingUser, currency: Currency | None = None) -> PointsOut:
    """`currency` defaults to the fleet's own."""
    found = wallets.points_balance(session, user.id, currency or runtime.settings.currency)
    count = as_points(session, Money(found.available_minor, found.currency))
    return PointsOut(**dict(WalletOut.of(found)), points=count)


@router.get(
    "/wallet/statement", operation_id="get_statement", summary="Movements of my wallet, newest first",
    responses=problems(401, 403),
)  # fmt: skip
def statement(
    session: SessionDep,
    runtime: RuntimeDep,
    user: CurrentUser,
    now: Now,
    currency: Currency | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[StatementLineOut]:
    """Holds that are still open come first, on the first page."""
    found = wallets.wallet_of(session, user.id, currency or runtime.settings.currency, now)
    page = statements.statement(session, found.account_id, limit, runtime.cursors.read("statement", cursor))
    more = None if page.next is None else runtime.cursors.make("statement", page.next)
    return Page(items=[StatementLineOut.of(line) for line in page.lines], next=more)


@router.post(
    "/top-up", operation_id="create_top_up", summary="Say how much I want to bring in", status_code=201,
    response_model=IntentOut, responses=problems(401, 403, 409),
)  # fmt: skip
def create_top_up(
    body: TopUpIn, session: SessionDep, runtime: RuntimeDep, user: CurrentAccount, now: Now, once: Idempotent
) -> Response:
    """Nothing is charged until it is confirmed."""
    return once.answer(
        session,
        now,
        lambda: IntentOut.of(
            topups.create_intent(session, user_id=user.id, money=body.money(), now=now, provider=runtime.provider)
        ),
        status=201,
    )


@router.get(
    "/top-up/{intent_id}", operation_id="get_top_up", summary="What became of a top-up",
    response_model=IntentOut, responses=problems(401, 403, 404) | NOT_MODIFIED,
)  # fmt: skip
def get_top_up(intent_id: UUID, request: Request, session: ReadingDep, user: ReadingUser) -> Response:
    return tagged(request, IntentOut.of(intents.intent_of(session, user.id, intent_id)))


@router.post(
    "/top-up/{intent_id}/confirm", operation_id="confirm_top_up", summary="Charge my card",
    response_model=IntentOut, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def confirm_top_up(
    intent_id: UUID, body: ConfirmIn, runtime: RuntimeDep, user: WaitingUser, now: Now, once: Idempotent
) -> Response:
    """Charged at most once, however often it is confirmed. `processing` and `unknown` settle by themselves: ask again.
    `requires_action`: open `action_url`, then ask again.

    The provider is called outside any transaction, so the answer is kept after the fact.
    """
    return _confirmed(intent_id, body, runtime, user, now, once)


def _confirmed(intent_id: UUID, body: ConfirmIn, runtime: Runtime, user: User, now: datetime, once: Once) -> Response:
    stored = once.stored(runtime.engine, now)
    if stored is not None:
        return replay(stored)
    saved = None
    if user.guest and body.card is not None:
        saved = kept_cards.at_provider(
            lambda: session_scope(runtime.engine), intent_id=intent_id, user_id=user.id, card=body.card,
            provider=runtime.provider,
        )  # fmt: skip
    intent = intents.confirm(
        lambda: session_scope(runtime.engine),
        intent_id=intent_id,
        user_id=user.id,
        card=body.card,
        method_id=body.method_id,
        saved=saved,
        provider=runtime.provider,
        now=now,
        return_url=runtime.settings.after_payment_url,
    )
    with session_scope(runtime.engine) as session:
        return once.answer(session, now, lambda: IntentOut.of(intent))


@router.post(
    "/top-up/{intent_id}/cancel", operation_id="cancel_top_up", summary="Give up a top-up that is not confirmed",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def cancel_top_up(intent_id: UUID, session: SessionDep, user: CurrentUser, now: Now) -> IntentOut:
    return IntentOut.of(intents.cancel(session, user_id=user.id, intent_id=intent_id, now=now))


@router.get(
    "/intent/{intent_id}", operation_id="get_payment_intent", summary="What became of a payment",
    response_model=IntentOut, responses=problems(401, 403, 404) | NOT_MODIFIED,
)  # fmt: skip
def get_intent(intent_id: UUID, request: Request, session: ReadingDep, user: ReadingUser) -> Response:
    """Of top-ups, and of payments that a rental waits for (the `intent` of a 402)."""
    return tagged(request, IntentOut.of(intents.intent_of(session, user.id, intent_id)))


@router.post(
    "/intent/{intent_id}/confirm", operation_id="confirm_payment_intent", summary="Pay with a card",
    response_model=IntentOut, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def confirm_intent(
    intent_id: UUID, body: ConfirmIn, runtime: RuntimeDep, user: WaitingUser, now: Now, once: Idempotent
) -> Response:
    """As for top-ups. For a rental the money is only set aside (`authorized`); the rental then starts by itself, and
    nothing is taken when no bank is given. A guest's card is saved with it.
    """
    return _confirmed(intent_id, body, runtime, user, now, once)


@router.post(
    "/intent/{intent_id}/cancel", operation_id="cancel_payment_intent",
    summary="Give up a payment that is not confirmed", responses=problems(401, 403, 404, 409),
)  # fmt: skip
def cancel_intent(intent_id: UUID, session: SessionDep, user: CurrentUser, now: Now) -> IntentOut:
    return IntentOut.of(intents.cancel(session, user_id=user.id, intent_id=intent_id, now=now))


#: What it says is the provider's business; the sandbox's looks like this.
_WEBHOOK_BODY = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"id": "evt_1", "type": "charge.succeeded", "data": {"reference": "ch_1"}},
            }
        }
    }
}


async def _raw_body(request: Request) -> bytes:
    return await request.body()


@router.post(
    "/webhook/{provider}", operation_id="payment_webhook", summary="For payment providers only",
    responses=problems(403, 404),
    openapi_extra=_WEBHOOK_BODY,
)  # fmt: skip
def webhook(
    provider: str,
    request: Request,
    session: SessionDep,
    runtime: RuntimeDep,
    now: Now,
    body: Annotated[bytes, Depends(_raw_body)],
) -> WebhookTaken:
    """Verified, stored as it came, and answered at once; a worker applies it. The same event again changes nothing."""
    if provider != runtime.provider.name:
        raise UnknownProvider(f"there is no payment provider {provider!r} here")
    webhooks.receive(session, runtime.provider, dict(request.headers), body, now)
    return WebhookTaken()
