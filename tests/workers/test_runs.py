"""Every run of a periodic job is noted, and noting never breaks a job."""

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from cli.main import app
from fleet.common import jobs
from fleet.common.clock import utc_now
from fleet.common.jobs import Run
from fleet.common.models import JobRun
from fleet.db import session_scope
from tests.databases import Database
from workers import runs
from workers.schedule import SCHEDULE


@pytest.fixture(autouse=True)
def _nothing_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_noted", {})


def the(database: Database, job: str) -> JobRun:
    with session_scope(database.engine) as session:
        return session.get_one(JobRun, job)


@pytest.mark.parametrize(("result", "changed"), [(3, 3), ([1, 2], 2), (None, None), (True, None)])
def test_what_a_job_returns_is_what_it_changed(worker: Database, result: object, changed: int | None) -> None:
    assert runs.noting("a.job", lambda: result) is result
    run = the(worker, "a.job")
    assert (run.runs, run.failures, run.changed, run.error) == (1, 0, changed, None)
    assert run.succeeded_at == run.finished_at


def test_a_failure_is_noted_and_goes_on(worker: Database) -> None:
    runs.noting("a.job", lambda: 1)
    succeeded = the(worker, "a.job").succeeded_at

    def fail() -> None:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        runs.noting("a.job", fail)
    run = the(worker, "a.job")
    assert (run.runs, run.failures, run.error) == (2, 1, "ValueError: no such thing")
    assert run.succeeded_at == succeeded


def test_quiet_runs_are_not_all_noted_and_busy_ones_are(worker: Database) -> None:
    for changed in (0, 0, 0, 2, 0, 1):
        runs.noting("a.job", partial(int, changed))
    assert the(worker, "a.job").runs == 3


def test_a_database_that_is_away_breaks_no_job(monkeypatch: pytest.MonkeyPatch, worker: Database) -> None:
    with session_scope(worker.engine) as session:
        session.connection().exec_driver_sql("DROP TABLE job_run")
    assert runs.noting("a.job", lambda: 7) == 7


def test_of_two_that_end_at_once_the_later_start_is_the_last(session: Session) -> None:
    now = utc_now()
    second = timedelta(seconds=1)
    jobs.record(session, Run("a.job", now, now + second, changed=1))
    jobs.record(session, Run("a.job", now - second, now + 2 * second, error="it took too long"))
    [run] = jobs.known_jobs(session)
    assert (run.runs, run.failures, run.started_at, run.changed, run.error) == (2, 1, now, 1, None)


def test_the_command_shows_every_job_and_fails_for_a_failing_one(worker: Database) -> None:
    every = CliRunner().invoke(app, ["jobs", "--json"])
    assert every.exit_code == 0
    assert len(every.stdout.splitlines()) == len(SCHEDULE)
    assert CliRunner().invoke(app, ["jobs", "--failing"]).exit_code == 0
    with session_scope(worker.engine) as session:
        jobs.record(session, Run("rentals.sweep_rentals", utc_now(), utc_now(), error="ValueError: odd"))
    failing = CliRunner().invoke(app, ["jobs", "--failing"])
    assert failing.exit_code == 1
    assert "rental deadlines: ValueError: odd" in failing.stdout
