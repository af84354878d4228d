"""Live changes of a few stations."""

from collections.abc import AsyncIterator
from datetime import datetime

from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent
from sqlalchemy.orm import Session

from api.live import looks
from api.runtime import Runtime
from api.stations.schemas import StationLive
from fleet.common.clock import utc_now
from fleet.common.notify import Channel
from fleet.db import session_scope
from fleet.stations.queries import find_station, station_view

#: One map view; every change of one is a statement.
MAX_STATIONS = 50


def station_ids(session: Session, codes: list[str]) -> dict[str, str]:
    """Codes by id as notifications carry it. Raises StationNotFound."""
    return {str(find_station(session, code).id): code for code in dict.fromkeys(codes)}


async def stream(runtime: Runtime, codes: dict[str, str]) -> AsyncIterator[ServerSentEvent]:
    """The state of each station at once, then of each that changes."""
    told: dict[str, StationLive] = {}
    with runtime.hub.subscribe(Channel.STATION, *codes) as subscription:
        async for changed in looks(runtime.hub, subscription):
            wanted = [codes[id_] for id_ in changed] or list(codes.values())
            for live in await run_in_threadpool(_read, runtime, wanted, utc_now()):
                if told.get(live.code) != live:
                    told[live.code] = live
                    yield ServerSentEvent(event="station", data=live)


def _read(runtime: Runtime, codes: list[str], now: datetime) -> list[StationLive]:
    with session_scope(runtime.engine) as session:
        return [
            StationLive.model_validate(
                station_view(session, code, now=now, min_charge_pct=runtime.policy.min_charge_pct)
            )
            for code in codes
        ]
