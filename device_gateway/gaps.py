"""Events that wait behind a gap: asked for, then given up (decision 0061)."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Engine, text

from device_gateway import events
from device_gateway.business import FactHandler
from device_gateway.directory import Directory
from device_gateway.ingest import Done
from device_gateway.work import Work
from fleet.db import session_scope

#: Stations in one transaction; more wait for the next round.
_MOST: Final = 500
_DUE: Final = text("""
SELECT DISTINCT station_id FROM device_stream
 WHERE gap_since <= CASE WHEN resend_asked_at IS NULL THEN CAST(:ask AS timestamptz) ELSE :give_up END
 ORDER BY station_id LIMIT :most
""")


class Gaps:
    """Looks after every gap in the database, whichever gateway saw it open."""

    def __init__(
        self,
        engine: Engine,
        directory: Directory,
        handle: FactHandler,
        *,
        wait: timedelta,
        give_up: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._engine = engine
        self._directory = directory
        self._handle = handle
        self._wait = wait
        self._give_up = give_up
        self._clock = clock

    def look(self, heard_through: datetime | None = None) -> Done:
        """Ask for what is missing, give up what does not come. Commits.

        `heard_through`: messages received before it have been stored. What came later may fill a gap, so that no gap
        younger than that is given up. None: nothing waits to be stored.
        """
        now = self._clock()
        behind = timedelta(0) if heard_through is None else max(timedelta(0), now - heard_through)
        ask, give_up = now - self._wait - behind, now - self._give_up - behind
        with session_scope(self._engine) as session:
            stations = list(session.scalars(_DUE, {"ask": ask, "give_up": give_up, "most": _MOST}))
            work = Work(session, self._directory, self._handle, now)
            events.unblock(work, stations, give_up_before=give_up, resend_before=ask)
        return Done(work.outbound, work.tally)
