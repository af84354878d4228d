"""`voltbay jobs`: what runs by itself, how it went last, and when it runs again."""

import json
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.console import console
from cli.database import fleet_session
from fleet.common.clock import utc_now
from fleet.common.jobs import known_jobs
from fleet.common.models import JobRun

#: Quiet runs are noted every few seconds only, and a busy worker is no reason for alarm.
_LATE = timedelta(seconds=60)


def jobs(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    failing: Annotated[bool, typer.Option(help="Only those that failed or are late; exit 1 if any.")] = False,
) -> None:
    """Every periodic job: how often it runs, its last run, what that changed, and its failures so far."""
    from workers.schedule import SCHEDULE  # noqa: PLC0415  # Celery takes a while to import

    with fleet_session("jobs") as (session, _):
        known = {run.job: run for run in known_jobs(session)}
    now = utc_now()
    rows = [_row(name, entry, known.get(entry["task"]), now) for name, entry in SCHEDULE.items()]
    if failing:
        rows = [row for row in rows if row["state"] not in {"ok", "not yet"}]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    else:
        _show(rows)
    if failing and rows:
        raise typer.Exit(1)


def _row(name: str, entry: dict[str, Any], run: JobRun | None, now: datetime) -> dict[str, Any]:
    due = _next(entry["schedule"], run, now)
    found: dict[str, Any] = {"name": name, "task": entry["task"], "state": _state(run, due, now), "next": _text(due)}
    if run is not None:
        took = run.finished_at - run.started_at
        found |= {
            "last": _text(run.started_at),
            "took_ms": round(took.total_seconds() * 1000),
            "changed": run.changed,
            "runs": run.runs,
            "failures": run.failures,
            "error": run.error,
        }
    return found


def _next(schedule: Any, run: JobRun | None, now: datetime) -> datetime | None:
    """When it should run again; None when it never ran, because then only beat knows."""
    from celery.schedules import maybe_schedule  # noqa: PLC0415  # see jobs

    if run is None:
        return None
    due: timedelta = maybe_schedule(schedule).remaining_estimate(run.started_at)  # type: ignore[union-attr]  # a schedule
    return now + due


def _state(run: JobRun | None, due: datetime | None, now: datetime) -> str:
    if run is None or due is None:
        return "not yet"
    if run.error is not None:
        return "failed"
    return "late" if due < now - _LATE else "ok"


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _clock(text: str | None) -> str:
    """`11-25 17:24:04`, which fits; `--json` has the rest."""
    return "" if text is None else text[5:19].replace("T", " ")


def _show(rows: list[dict[str, Any]]) -> None:
    if not rows:
        typer.echo("all jobs are well")
        return
    table = Table("job", "state", "last (UTC)", "took", "rows", "runs", "failed", "next", box=None, padding=(0, 1))
    for row in rows:
        took = f"{row['took_ms']} ms" if "took_ms" in row else ""
        numbers = (row.get(key) for key in ("changed", "runs", "failures"))
        cells = [row["name"], row["state"], _clock(row.get("last")), took, *numbers, _clock(row["next"])]
        table.add_row(*["" if cell is None else str(cell) for cell in cells])
    console().print(table)
    for row in rows:
        if row.get("error"):
            typer.echo(f"{row['name']}: {row['error']}")
