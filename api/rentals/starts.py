"""Starting a rental, and holding the answer without a thread or a connection until the cabinet has spoken."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from api.errors import members_of, status_of
from api.hub import Subscription
from api.idempotency import Once
from api.payments.schemas import IntentOut
from api.problems import details
from api.rentals.schemas import RentalOut, StartIn
from api.runtime import Runtime
from fleet.common.clock import utc_now
from fleet.common.errors import FleetError
from fleet.common.idempotency import StoredAnswer
from fleet.common.notify import Channel
from fleet.common.roundtrips import may_be_lost
from fleet.db import new_id, session_scope
from fleet.payments import intents, methods
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.rentals import queries
from fleet.rentals.models import PayMode, RentalState
from fleet.rentals.queries import Shown
from fleet.rentals.starts import by_card as card_starts
from fleet.rentals.starts import service as starts
from fleet.rentals.starts.queries import Asked, Known, look
from fleet.users.tokens import AccessClaims

log = structlog.get_logger(__name__)

#: How long silence is believed while a rider waits: with notifications, and without.
_LISTENING_S = 2.0
_DEAF_S = 0.2

ACCEPTED, CREATED, OK, PAYMENT = 202, 201, 200, 402
#: A payment that will not start its rental any more.
_OVER: Final = frozenset({IntentState.FAILED, IntentState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Answered:
    """`replayed`: it began with an earlier request; `is_new`: later than what is kept under the key (`Start.keep`)."""

    answer: StoredAnswer
    replayed: bool
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """One request to start: `answer` on the event loop, the database's part in threads."""

    runtime: Runtime
    once: Once
    claims: AccessClaims

    async def answer(self, body: StartIn, now: datetime, wait_s: int) -> Answered:
        """The answer as soon as the rental has left EJECTING, or as it is after `wait_s`."""
        if not wait_s:
            return Answered(*await run_in_threadpool(self._begin, body, now, new_id()))
        rental_id, ends = new_id(), time.monotonic() + wait_s
        # Listening before the order can be out: nothing that is told meanwhile is missed.
        with self.runtime.hub.subscribe(Channel.RENTAL, str(rental_id)) as subscription:
            answer, replayed = await run_in_threadpool(self._begin, body, now, rental_id)
            if answer.status == ACCEPTED and answer.body["id"] == str(rental_id):
                return await self._settled(answer, subscription, ends, replayed=False)
        if answer.status != ACCEPTED:
            return Answered(answer, replayed)
        with self.runtime.hub.subscribe(Channel.RENTAL, answer.body["id"]) as subscription:
            subscription.wake(None)
            return await self._settled(answer, subscription, ends, replayed=replayed)

    def keep(self, answer: StoredAnswer) -> None:
        """The final answer is the one that is kept under the key, in place of the one that said ACCEPTED.

        For after it is sent: the one that is kept already is as true, and whoever asks again and waits hears this one.
        """
        try:
            with session_scope(self.runtime.engine) as session:
                self.once.replace(session, answer, instead_of=ACCEPTED)
                may_be_lost(session)
        except (DBAPIError, PoolTimeout) as error:
            log.warning("final_answer_not_kept", rental_id=answer.body["id"], error=str(error))

    def _begin(self, body: StartIn, now: datetime, rental_id: UUID) -> tuple[StoredAnswer, bool]:
        """The answer so far, and whether it is that of an earlier request."""
        answer, replayed = self._first(body, now, rental_id)
        if body.method_id is None or not _may_go_on(answer):
            return answer, replayed
        return self._by_saved_card(UUID(answer.body["intent"]["id"]), body.method_id, now, rental_id), replayed

    def _first(self, body: StartIn, now: datetime, rental_id: UUID) -> tuple[StoredAnswer, bool]:
        with session_scope(self.runtime.engine) as session:
            known = self._known(session, body, now)
            if known.earlier is not None:
                return known.earlier, True
            if body.pay is PayMode.CARD and (asked := self._ask(session, body, known, now)) is not None:
                self.once.finish(session, asked, now)
                return asked, False
            rental = starts.start(
                session,
                user_id=self.claims.user_id,
                station_code=body.station,
                slot=body.slot,
                now=now,
                policy=self.runtime.policy,
                request_id=self.once.request_id,
                rental_id=rental_id,
                package_id=body.package,
                plan=body.plan(),
                known=known,
            )
            answer = _answer(rental)
            self.once.finish(session, answer, now)
            return answer, False

    def _known(self, session: Session, body: StartIn, now: datetime) -> Known:
        """The rider is let in, the key claimed, and all that decides is read."""
        asked = Asked(self.claims, self.once.claim())
        with self.once.waiting():
            return look(session, user_id=self.claims.user_id, station_code=body.station, now=now, asked=asked)

    def _ask(self, session: Session, body: StartIn, known: Known, now: datetime) -> StoredAnswer | None:
        """402 with the payment to confirm; None when nothing has to be set aside."""
        if body.method_id is not None:
            methods.method_of(session, self.claims.user_id, body.method_id)  # before anything is kept
        intent = card_starts.ask_payment(
            session,
            user_id=self.claims.user_id,
            station_code=body.station,
            slot=body.slot,
            package_id=body.package,
            provider=self.runtime.provider,
            now=now,
            policy=self.runtime.policy,
            plan=body.plan(),
            request_id=self.once.request_id,
            known=known,
        )
        return None if intent is None else _payment(intent)

    def _by_saved_card(self, intent_id: UUID, method_id: UUID, now: datetime, rental_id: UUID) -> StoredAnswer:
        """The provider is asked between transactions, once, however often this is sent; whoever hears first that the
        money is set aside, this request or the worker, starts the rental.
        """
        intent = intents.confirm(
            lambda: session_scope(self.runtime.engine),
            intent_id=intent_id,
            user_id=self.claims.user_id,
            method_id=method_id,
            provider=self.runtime.provider,
            now=now,
            return_url=self.runtime.settings.after_payment_url,
        )
        with session_scope(self.runtime.engine) as session:
            answer = self._after_payment(session, intent, rental_id)
            if not _may_go_on(answer):  # else what is kept already says so, and another request may know more by now
                self.once.replace(session, answer)
            return answer

    def _after_payment(self, session: Session, intent: PaymentIntent, rental_id: UUID) -> StoredAnswer:
        if intent.state is not IntentState.AUTHORIZED:
            return _payment(intent)
        begun = card_starts.start_paid(
            session,
            intent.id,
            utc_now(),  # the provider may have taken its time, and the cabinet has a deadline
            self.runtime.policy,
            rental_id=rental_id,
        )
        if begun.refused is not None:
            return _refused(begun.refused)
        if begun.rental is not None:
            return _answer(begun.rental)
        intent = intents.intent_of(session, self.claims.user_id, intent.id)
        if intent.rental_id is None:
            return _payment(intent)
        return _answer(queries.shown(session, self.claims.user_id, intent.rental_id))

    async def _settled(
        self, answer: StoredAnswer, subscription: Subscription, ends: float, *, replayed: bool
    ) -> Answered:
        """The final answer, or `answer` when the time is over."""
        hub, rental_id = self.runtime.hub, UUID(answer.body["id"])
        while (left := ends - time.monotonic()) > 0 and not subscription.closed:
            await subscription.wait(min(left, _LISTENING_S if hub.listening else _DEAF_S))
            found = await run_in_threadpool(self._look, rental_id)
            if found is not None:
                return Answered(found, replayed, is_new=True)
        return Answered(answer, replayed)

    def _look(self, rental_id: UUID) -> StoredAnswer | None:
        """The final answer; None while the cabinet is silent."""
        with Session(self.runtime.reads) as session:
            rental = queries.shown(session, self.claims.user_id, rental_id)
        return None if rental.state is RentalState.EJECTING else _answer(rental)


def _answer(rental: Shown) -> StoredAnswer:
    return StoredAnswer(_status(rental.state), RentalOut.of(rental).model_dump(mode="json"))


def _status(state: RentalState) -> int:
    if state is RentalState.EJECTING:
        return ACCEPTED
    return CREATED if state is RentalState.ACTIVE else OK


def _payment(intent: PaymentIntent) -> StoredAnswer:
    """The rental begins by itself when this payment is there, or will not because it is over."""
    members = {"intent": IntentOut.of(intent).model_dump(mode="json")}
    if intent.state in _OVER or intent.settle_minor is not None:
        return StoredAnswer(PAYMENT, details(PAYMENT, "payment_failed", _why(intent), members=members))
    texts = {
        IntentState.REQUIRES_CONFIRMATION: "confirm this payment, and the rental begins by itself",
        IntentState.REQUIRES_ACTION: "the bank wants to see you at action_url, then the rental begins by itself",
    }
    text = texts.get(intent.state, "the card has not answered yet; when it does, the rental begins by itself")
    return StoredAnswer(PAYMENT, details(PAYMENT, "payment_required", text, members=members))


def _why(intent: PaymentIntent) -> str:
    if intent.state not in _OVER:
        return "the rental could not begin, and the money goes back"
    return f"the payment has {intent.state}" + ("" if intent.failure_code is None else f": {intent.failure_code}")


def _may_go_on(answer: StoredAnswer) -> bool:
    """A payment that is not decided, perhaps because the process that asked for it died."""
    asked = answer.body.get("intent") if answer.status == PAYMENT else None
    return asked is not None and asked["state"] not in _OVER


def _refused(error: FleetError) -> StoredAnswer:
    """The money was set aside and goes back; the same key has the same answer."""
    status = status_of(error)
    return StoredAnswer(status, details(status, error.code, error.message, members=members_of(error)))
