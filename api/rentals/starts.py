"""Starting a rental, and holding the answer without a thread or a connection until the cabinet has spoken."""

import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from api.hub import Subscription
from api.idempotency import Once
from api.payments.schemas import IntentOut
from api.problems import details
from api.rentals.schemas import RentalOut, StartIn
from api.runtime import Runtime
from fleet.common.idempotency import StoredAnswer
from fleet.common.notify import Channel
from fleet.common.roundtrips import may_be_lost
from fleet.db import new_id, session_scope
from fleet.rentals import queries
from fleet.rentals.models import PayMode, Rental, RentalState
from fleet.rentals.starts import by_card as card_starts
from fleet.rentals.starts import service as starts
from fleet.users.tokens import AccessClaims, signed_in_user

#: How long silence is believed while a rider waits: with notifications, and without.
_LISTENING_S = 2.0
_DEAF_S = 0.2

ACCEPTED, CREATED, OK, PAYMENT = 202, 201, 200, 402


@dataclass(frozen=True, slots=True)
class Start:
    """One request to start: `answer` on the event loop, the database's part in threads."""

    runtime: Runtime
    once: Once
    claims: AccessClaims

    async def answer(self, body: StartIn, now: datetime, wait_s: int) -> tuple[StoredAnswer, bool]:
        """The answer as soon as the rental has left EJECTING, or as it is after `wait_s`; and whether it is that of an
        earlier request.
        """
        if not wait_s:
            return await run_in_threadpool(self._begin, body, now, new_id())
        rental_id, ends = new_id(), time.monotonic() + wait_s
        # Listening before the order can be out: nothing that is told meanwhile is missed.
        with self.runtime.hub.subscribe(Channel.RENTAL, str(rental_id)) as subscription:
            answer, replayed = await run_in_threadpool(self._begin, body, now, rental_id)
            if not replayed and answer.status != PAYMENT:
                return await self._settled(answer, subscription, ends), False
        if answer.status != ACCEPTED:
            return answer, replayed
        with self.runtime.hub.subscribe(Channel.RENTAL, answer.body["id"]) as subscription:
            subscription.wake(None)
            return await self._settled(answer, subscription, ends), True

    def _begin(self, body: StartIn, now: datetime, rental_id: UUID) -> tuple[StoredAnswer, bool]:
        """The answer so far, and whether it is that of an earlier request."""
        with session_scope(self.runtime.engine) as session:
            user = signed_in_user(session, self.claims, now)
            stored = self.once.begin(session, now)
            if stored is not None:
                return stored, True
            if body.pay is PayMode.CARD and (asked := self._ask(session, body, now)) is not None:
                self.once.finish(session, asked, now)
                return asked, False
            rental = starts.start(
                session,
                user_id=user.id,
                station_code=body.station,
                slot=body.slot,
                now=now,
                policy=self.runtime.policy,
                request_id=self.once.request_id,
                rental_id=rental_id,
                package_id=body.package,
                plan=body.plan(),
            )
            answer = _answer(rental)
            self.once.finish(session, answer, now)
            return answer, False

    def _ask(self, session: Session, body: StartIn, now: datetime) -> StoredAnswer | None:
        """402 with the payment to confirm; None when nothing has to be set aside."""
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
        )
        if intent is None:
            return None
        members = {"intent": IntentOut.of(intent).model_dump(mode="json")}
        text = "confirm this payment, and the rental begins by itself"
        return StoredAnswer(PAYMENT, details(PAYMENT, "payment_required", text, members=members))

    async def _settled(self, answer: StoredAnswer, subscription: Subscription, ends: float) -> StoredAnswer:
        """The final answer, or `answer` when the time is over."""
        hub, rental_id = self.runtime.hub, UUID(answer.body["id"])
        while (left := ends - time.monotonic()) > 0 and not subscription.closed:
            await subscription.wait(min(left, _LISTENING_S if hub.listening else _DEAF_S))
            found = await run_in_threadpool(self._look, rental_id)
            if found is not None:
                return found
        return answer

    def _look(self, rental_id: UUID) -> StoredAnswer | None:
        """The final answer, which is then the one that is kept under the key; None while the cabinet is silent."""
        with session_scope(self.runtime.engine) as session:
            rental = queries.rental_of(session, self.claims.user_id, rental_id)
            if rental.state is RentalState.EJECTING:
                return None
            answer = _answer(rental)
            self.once.replace(session, answer)
            may_be_lost(session)  # the first answer is kept already, and is as true
            return answer


def _answer(rental: Rental) -> StoredAnswer:
    """`rental` with its stations and its bank loaded."""
    return StoredAnswer(_status(rental.state), RentalOut.of(rental).model_dump(mode="json"))


def _status(state: RentalState) -> int:
    if state is RentalState.EJECTING:
        return ACCEPTED
    return CREATED if state is RentalState.ACTIVE else OK
