"""Live changes of one rental."""

from collections.abc import AsyncIterator
from uuid import UUID

from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent
from sqlalchemy.orm import Session

from api.live import looks
from api.rentals.schemas import RentalOut
from api.runtime import Runtime
from fleet.common.notify import Channel
from fleet.rentals import queries
from fleet.rentals.models import OPEN_STATES, Rental


async def stream(runtime: Runtime, rental: Rental) -> AsyncIterator[ServerSentEvent]:
    """The rental as it is, then again whenever it has changed, until it is closed."""
    told: RentalOut | None = None
    with runtime.hub.subscribe(Channel.RENTAL, str(rental.id)) as subscription:
        async for _ in looks(runtime.hub, subscription):
            found = await run_in_threadpool(_read, runtime, rental.user_id, rental.id)
            if found != told:
                told = found
                yield ServerSentEvent(event="rental", data=found)
            if found.state not in OPEN_STATES:
                return


def _read(runtime: Runtime, user_id: UUID, rental_id: UUID) -> RentalOut:
    with Session(runtime.reads) as session:
        return RentalOut.of(queries.shown(session, user_id, rental_id))
