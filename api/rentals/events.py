"""Live changes of one rental."""

from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent
from sqlalchemy.orm import Session

from api.live import looks
from api.rentals.schemas import RentalOut
from api.runtime import Runtime
from fleet.common.clock import utc_now
from fleet.common.errors import Forbidden
from fleet.common.notify import Channel
from fleet.rentals import queries
from fleet.rentals.models import OPEN_STATES, Rental
from fleet.users.errors import NotAuthenticated
from fleet.users.tokens import AccessClaims, signed_in_user


async def stream(runtime: Runtime, claims: AccessClaims, rental: Rental) -> AsyncIterator[ServerSentEvent]:
    """The rental as it is, then again whenever it has changed, until it is closed or the caller is signed out."""
    told: RentalOut | None = None
    with runtime.hub.subscribe(Channel.RENTAL, str(rental.id)) as subscription:
        async for _ in looks(runtime.hub, subscription):
            found = await run_in_threadpool(_read, runtime, claims, rental.id)
            if found is None:
                return
            if found != told:
                told = found
                yield ServerSentEvent(event="rental", data=found)
            if found.state not in OPEN_STATES:
                return


def _read(runtime: Runtime, claims: AccessClaims, rental_id: UUID) -> RentalOut | None:
    """None: who listens would not be let in any more."""
    with Session(runtime.reads) as session:
        with suppress(NotAuthenticated, Forbidden):
            user = signed_in_user(session, claims, utc_now())
            return RentalOut.of(queries.shown(session, user.id, rental_id))
        return None
