"""Starting a rental, and holding the answer without a thread or a connection until the cabinet has spoken."""

import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.orm import Session

from api.idempotency import Once
from api.rentals.schemas import RentalOut, StartIn
from api.runtime import Runtime
from fleet.common.idempotency import StoredAnswer
from fleet.common.notify import Channel
from fleet.db import session_scope
from fleet.rentals import queries, starts
from fleet.rentals.models import RentalState

#: How long silence is believed while a rider waits: with notifications, and without.
_LISTENING_S = 2.0
_DEAF_S = 0.2

ACCEPTED, CREATED, OK = 202, 201, 200


@dataclass(frozen=True, slots=True)
class Start:
    """One request to start. `begin` in a thread; `settled` on the event loop."""

    runtime: Runtime
    once: Once
    user_id: UUID

    def begin(self, body: StartIn, now: datetime) -> tuple[StoredAnswer, bool]:
        """The answer so far, and whether it is that of an earlier request."""
        with session_scope(self.runtime.engine) as session:
            stored = self.once.begin(session, now)
            if stored is not None:
                return stored, True
            rental = starts.start(
                session,
                user_id=self.user_id,
                station_code=body.station,
                slot=body.slot,
                now=now,
                policy=self.runtime.policy,
                request_id=self.once.request_id,
            )
            answer = self._answer(session, rental.id)
            self.once.finish(session, answer, now)
            return answer, False

    async def settled(self, answer: StoredAnswer, wait_s: int) -> StoredAnswer:
        """The answer as soon as the rental has left EJECTING, or as it is after `wait_s`."""
        rental_id = UUID(answer.body["id"])
        ends = time.monotonic() + wait_s
        hub = self.runtime.hub
        with hub.subscribe(Channel.RENTAL, str(rental_id)) as subscription:
            while True:
                found = await run_in_threadpool(self._look, rental_id)
                left = ends - time.monotonic()
                if found is not None or left <= 0 or subscription.closed:
                    return found or answer
                await subscription.wait(min(left, _LISTENING_S if hub.listening else _DEAF_S))

    def _look(self, rental_id: UUID) -> StoredAnswer | None:
        """The final answer, which is then the one that is kept under the key; None while the cabinet is silent."""
        with session_scope(self.runtime.engine) as session:
            if queries.state_of(session, self.user_id, rental_id) is RentalState.EJECTING:
                return None
            answer = self._answer(session, rental_id)
            self.once.replace(session, answer)
            return answer

    def _answer(self, session: Session, rental_id: UUID) -> StoredAnswer:
        rental = queries.rental_of(session, self.user_id, rental_id)
        return StoredAnswer(_status(rental.state), RentalOut.of(rental).model_dump(mode="json"))


def _status(state: RentalState) -> int:
    if state is RentalState.EJECTING:
        return ACCEPTED
    return CREATED if state is RentalState.ACTIVE else OK
