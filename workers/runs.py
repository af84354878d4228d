"""Notes what became of every run of a periodic job."""

from collections.abc import Callable, Sized
from datetime import datetime, timedelta
from typing import Final, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from fleet.common import jobs
from fleet.common.clock import utc_now
from fleet.common.jobs import Run
from workers.context import transaction

log = structlog.get_logger(__name__)
R = TypeVar("R")

#: A run that changed nothing is noted this often by one process; some jobs run every second.
QUIET: Final = timedelta(seconds=5)
_noted: dict[str, datetime] = {}


def noting(job: str, work: Callable[[], R]) -> R:
    """Run it and note how it went. What cannot be noted is no reason to fail, and a failure goes on to the queue."""
    started = utc_now()
    try:
        result = work()
    except Exception as error:
        _note(Run(job, started, utc_now(), error=f"{type(error).__name__}: {error}"))
        raise
    changed = _count(result)
    if changed or started - _noted.get(job, datetime.min.replace(tzinfo=started.tzinfo)) >= QUIET:
        _note(Run(job, started, utc_now(), changed=changed))
        _noted[job] = started
    return result


def _count(result: object) -> int | None:
    """Jobs return how many rows they changed, or which."""
    if isinstance(result, bool):
        return None
    if isinstance(result, int):
        return result
    return len(result) if isinstance(result, Sized) else None


def _note(run: Run) -> None:
    try:
        with transaction() as session:
            jobs.record(session, run)
    except SQLAlchemyError as error:
        log.warning("run_not_noted", job=run.job, error=str(error).splitlines()[0])
