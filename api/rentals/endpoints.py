from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.orm import Session
from starlette.background import BackgroundTask

from api.auth import Claims, CurrentUser, ReadingUser, WaitingUser
from api.deps import Now, ReadingDep, RuntimeDep, SessionDep
from api.etag import NOT_MODIFIED, tagged
from api.idempotency import REPLAYED, Idempotent, IdempotentIfKeyed
from api.live import stream_responses
from api.paging import DEFAULT_LIMIT
from api.prefer import PreferWait
from api.problems import MEDIA_TYPE, problems
from api.rentals import events
from api.rentals.schemas import PriceOut, QuoteIn, QuoteOut, RentalOut, Rentals, StartIn
from api.rentals.starts import ACCEPTED, CREATED, OK, PAYMENT, Start
from api.schemas import Cursor, Instant, Limit, Page
from api.v1 import area
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments.errors import InsufficientFunds
from fleet.rentals import queries
from fleet.rentals.closing.dues import collect_dues
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.starts import quotes
from fleet.rentals.underway import cancels

router = area("rental", "rentals")


@router.post(
    "/quote", operation_id="quote_rental", summary="What a rental from a station would cost, and whether it can start",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def quote(body: QuoteIn, session: SessionDep, runtime: RuntimeDep, user: CurrentUser, now: Now) -> QuoteOut:
    """With what a rental of `minutes` would cost, line by line. Nothing is held or reserved."""
    found = quotes.quote(
        session,
        user_id=user.id,
        station_code=body.station,
        now=now,
        policy=runtime.policy,
        duration=timedelta(minutes=body.minutes),
        package_id=body.package,
        plan=body.plan(),
    )
    return QuoteOut.of(found, now)


@router.post(
    "/start",
    operation_id="start_rental",
    summary="Have a power bank ejected",
    status_code=ACCEPTED,
    response_model=RentalOut,
    responses=problems(401, 402, 403, 404, 409)
    | {
        CREATED: {"model": RentalOut, "description": "With `Prefer: wait`: the bank is out (`active`)"},
        OK: {"model": RentalOut, "description": "With `Prefer: wait`: it ended otherwise; `state` says how"},
        ACCEPTED: {"description": "The cabinet has been asked (`ejecting`); follow the rental"},
    },
)
async def start(
    body: StartIn, runtime: RuntimeDep, claims: Claims, now: Now, once: Idempotent, wait_s: PreferWait
) -> Response:
    """Money is held, a bank chosen and the cabinet asked in one transaction. With `Prefer: wait=N` the answer is held
    until the rental has left `ejecting`, at most N seconds; else it comes at once.

    Sent again with the same key nothing moves again, and the answer is the same, or the final one when that is known.

    `pay` says what stands for it: in the end points pay, then the wallet, then the card, each as far as it may. With
    `pay: card` the answer is 402 with an `intent`: confirm it (`/payment/intent/{id}/confirm`) within 30 minutes, and
    the rental begins by itself at the price of now; the intent then names it. If it cannot begin, the money goes back.
    With `method_id` a saved card is asked at once, and there is no 402 unless it declines, does not answer, or the
    rider's bank wants to see the rider (`intent.action_url`).
    """
    starting = Start(runtime, once, claims)
    answered = await starting.answer(body, now, wait_s)
    answer, headers = answered.answer, {}
    failed = answer.status >= PAYMENT
    if not failed:
        headers["Location"] = f"/api/v1/rental/{answer.body['id']}"
    if answered.replayed:
        headers[REPLAYED] = "true"
    if wait_s:
        headers["Preference-Applied"] = f"wait={wait_s}"
    return JSONResponse(
        answer.body,
        answer.status,
        headers=headers,
        media_type=MEDIA_TYPE if failed else None,
        background=BackgroundTask(starting.keep, answer) if answered.is_new else None,
    )


@router.get("/current", operation_id="current_rentals", summary="My open rentals", response_model=Rentals,
            responses=problems(401, 403) | NOT_MODIFIED)  # fmt: skip
def current(request: Request, session: ReadingDep, user: ReadingUser) -> Response:
    return tagged(request, Rentals(items=[RentalOut.of(rental) for rental in queries.current(session, user.id)]))


@router.get("/history", operation_id="rental_history", summary="My rentals, newest first",
            responses=problems(401, 403))  # fmt: skip
def history(
    session: ReadingDep,
    runtime: RuntimeDep,
    user: ReadingUser,
    state: RentalState | None = None,
    since: Annotated[Instant | None, Query(description="asked for from then on")] = None,
    until: Annotated[Instant | None, Query(description="asked for before then")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[RentalOut]:
    before = runtime.cursors.read("history", cursor)
    last = UUID(before) if before else None
    rows = queries.history(session, user.id, limit + 1, last, state=state, since=since, until=until)
    more = runtime.cursors.make("history", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[RentalOut.of(row) for row in rows[:limit]], next=more)


@router.get("/{rental_id}", operation_id="get_rental", summary="One of my rentals", response_model=RentalOut,
            responses=problems(401, 403, 404) | NOT_MODIFIED)  # fmt: skip
def get_rental(rental_id: UUID, request: Request, session: ReadingDep, user: ReadingUser) -> Response:
    return tagged(request, RentalOut.of(queries.shown(session, user.id, rental_id)))


@router.post("/{rental_id}/cancel", operation_id="cancel_rental", summary="Call it off, free of charge",
             response_model=RentalOut, responses=problems(401, 403, 404, 409))  # fmt: skip
def cancel(
    rental_id: UUID, session: SessionDep, runtime: RuntimeDep, user: CurrentUser, now: Now, once: IdempotentIfKeyed
) -> Response:
    """Before the cabinet has the order, or once the bank is back within minutes of leaving, because it was of no use
    (then as long as that again, and a few times a day). In between it cannot be called back: the bank may already move.
    Cancelling again changes nothing.
    """

    def work() -> RentalOut:
        done = cancels.cancel(session, user_id=user.id, rental_id=rental_id, now=now, policy=runtime.policy)
        return RentalOut.of(done)

    return once.answer(session, now, work)


@router.post(
    "/{rental_id}/pay-due", operation_id="pay_due", summary="Pay what is owed", response_model=RentalOut,
    responses=problems(401, 402, 403, 404, 409),
)  # fmt: skip
def pay_due(rental_id: UUID, session: SessionDep, user: CurrentUser, now: Now, once: Idempotent) -> Response:
    """From the wallet, older debts first; a rental can be started again when nothing is owed. Paid already: nothing
    moves. When the wallet has too little for this rental nothing moves either: top up first.
    """
    return once.answer(session, now, lambda: RentalOut.of(_paid(session, user.id, rental_id, now)))


def _paid(session: Session, user_id: UUID, rental_id: UUID, now: datetime) -> Rental:
    due = queries.rental_of(session, user_id, rental_id).due_minor
    if due:
        collect_dues(session, user_id, now)
    rental = queries.rental_of(session, user_id, rental_id)
    if rental.due_minor:
        raise InsufficientFunds(
            f"{Money(rental.due_minor, rental.currency)} more is needed",
            needed_minor=due,
            available_minor=due - rental.due_minor,
            currency=rental.currency,
        )
    return rental


@router.get("/{rental_id}/price", operation_id="rental_price", summary="What it costs, and why",
            responses=problems(401, 403, 404))  # fmt: skip
def price(rental_id: UUID, session: ReadingDep, user: ReadingUser, now: Now) -> PriceOut:
    rental = queries.rental_of(session, user.id, rental_id)
    return PriceOut.of(queries.price_now(rental, now), final=rental.closed_at is not None, at=now)


def _own_rental(rental_id: UUID, runtime: RuntimeDep, user: WaitingUser) -> Rental:
    with session_scope(runtime.engine) as session:
        return queries.rental_of(session, user.id, rental_id)


@router.get(
    "/{rental_id}/events",
    operation_id="rental_events",
    summary="Live changes of one of my rentals (server-sent events)",
    response_class=EventSourceResponse,
    responses=stream_responses("Events `rental`, each with the whole rental: at once, then at every change", 401, 404),
)
async def rental_events(
    runtime: RuntimeDep, claims: Claims, rental: Annotated[Rental, Depends(_own_rental)]
) -> AsyncIterator[ServerSentEvent]:
    """The stream ends when the rental is closed, or after 15 minutes: then come back."""
    async for event in events.stream(runtime, claims, rental):
        yield event
