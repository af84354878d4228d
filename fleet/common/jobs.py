"""What became of the periodic jobs: one row each, for people and for metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.models import JobRun

_TEXT_CHARS = 300


@dataclass(frozen=True, slots=True)
class Run:
    """One run that has ended. `error` None: it succeeded."""

    job: str
    started_at: datetime
    finished_at: datetime
    #: How many rows it changed; None when the job does not count.
    changed: int | None = None
    error: str | None = None

    @property
    def took(self) -> timedelta:
        return self.finished_at - self.started_at


def record(session: Session, run: Run) -> None:
    """Note a run. Of two workers that end at once the later start stays as the last one; both are counted."""
    failed = run.error is not None
    values = {
        "job": run.job,
        "runs": 1,
        "failures": int(failed),
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "succeeded_at": None if failed else run.finished_at,
        "changed": run.changed,
        "error": None if run.error is None else run.error[:_TEXT_CHARS],
    }
    insertion = insert(JobRun).values(values)
    new = insertion.excluded
    later = new.started_at >= JobRun.started_at
    session.execute(
        insertion.on_conflict_do_update(
            index_elements=["job"],
            set_={
                "runs": JobRun.runs + 1,
                "failures": JobRun.failures + new.failures,
                "succeeded_at": func.greatest(JobRun.succeeded_at, new.succeeded_at),
                **{
                    name: case((later, getattr(new, name)), else_=getattr(JobRun, name))
                    for name in ("started_at", "finished_at", "changed", "error")
                },
            },
        )
    )


def known_jobs(session: Session) -> Sequence[JobRun]:
    """Every job that ever ran, by name."""
    return session.scalars(select(JobRun).order_by(JobRun.job)).all()
