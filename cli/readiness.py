import threading
import time

import httpx
from sqlalchemy import func, select

from cli.running import RunState
from fleet.db import create_engine_from, session_scope
from fleet.stations.models import Station

_POLL_S = 0.2


class NotReady(Exception):
    """The system did not come up in time; says what was missing."""


def wait_until_ready(state: RunState, database_url: str, *, timeout_s: float, stopped: threading.Event) -> None:
    """Return when the API calls itself ready and every simulated station is online, or `stopped` is set."""
    deadline = time.monotonic() + timeout_s
    missing = "the API does not answer"
    while not stopped.wait(_POLL_S):
        found = _api_lacks(state.url) or _stations_lack(database_url, state.stations)
        if found is None:
            return
        missing = found
        if time.monotonic() > deadline:
            raise NotReady(f"not ready after {timeout_s:.0f} s: {missing}")


def _api_lacks(url: str) -> str | None:
    try:
        answer = httpx.get(f"{url}/health/ready", timeout=2.0)
    except httpx.HTTPError as error:
        return f"the API does not answer ({error})"
    return None if answer.status_code == httpx.codes.OK else f"the API answers {answer.status_code} {answer.text[:500]}"


def _stations_lack(database_url: str, codes: list[str]) -> str | None:
    if not codes:
        return None
    engine = create_engine_from(database_url, pool_size=1, name="voltbay-up")
    try:
        with session_scope(engine) as session:
            online = session.scalar(select(func.count()).where(Station.code.in_(codes), Station.online)) or 0
    finally:
        engine.dispose()
    return None if online == len(codes) else f"{online} of {len(codes)} simulated stations are online"
