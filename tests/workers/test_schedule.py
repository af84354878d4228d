import subprocess
import sys
from datetime import timedelta

import pytest

from workers.app import app
from workers.routes import ROUTES
from workers.schedule import SCHEDULE


@pytest.fixture(scope="module", autouse=True)
def _tasks() -> None:
    app.loader.import_default_modules()


def test_every_scheduled_task_exists() -> None:
    assert {entry["task"] for entry in SCHEDULE.values()} <= set(app.tasks)


def test_every_routed_task_exists() -> None:
    assert {task for tasks in ROUTES.values() for task in tasks} <= set(app.tasks)


def test_beat_sends_names_and_imports_no_task() -> None:
    code = (
        "import sys; from workers.beat import app\n"
        "app.loader.init_worker(); app.finalize()\n"  # as beat does before it begins
        "assert app.conf.beat_schedule and app.tasks\n"
        "print(*(name for name in sys.modules if name.startswith(('workers.tasks', 'fleet.rentals'))))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""


def test_what_is_missed_is_not_made_up_for() -> None:
    for name, entry in SCHEDULE.items():
        if isinstance(entry["schedule"], timedelta):
            assert entry["options"]["expires"] <= max(entry["schedule"].total_seconds(), 1), name


def test_beat_accepts_the_schedule() -> None:
    from celery.beat import Scheduler  # noqa: PLC0415  # only here

    scheduler = Scheduler(app=app, lazy=True)
    scheduler.setup_schedule()
    assert set(SCHEDULE) <= set(scheduler.schedule)


def test_nothing_runs_forever_and_nothing_is_lost_with_a_worker() -> None:
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    # A message comes back only after the task that holds it was certainly killed.
    assert app.conf.broker_transport_options["visibility_timeout"] > app.conf.task_time_limit
    assert app.conf.accept_content == ["json"]
