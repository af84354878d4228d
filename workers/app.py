"""The Celery application: `celery -A workers.app worker`. Beat's is in workers/beat.py."""

import gc
from importlib import import_module
from typing import Any

from celery import Celery
from celery.signals import import_modules, setup_logging

from fleet import silence
from fleet.common import logs
from fleet.settings import Settings
from workers import redis_transport
from workers.schedule import SCHEDULE

#: A task that runs longer is killed; the message comes back after VISIBILITY_S, which must be longer.
TASK_LIMIT_S = 60
VISIBILITY_S = 150

redis_transport.install()

AREAS = (
    "common", "device_upkeep", "devices", "partners", "payments", "rentals", "stations", "subscriptions", "telemetry",
    "users",
)  # fmt: skip


TASKS = tuple(f"workers.tasks.{area}" for area in AREAS)


def create_celery(settings: Settings, tasks: tuple[str, ...] = TASKS) -> Celery:
    """Celery on Redis: JSON only, acknowledged after the work, no results kept; PostgreSQL has the truth.

    `tasks`: the modules that a process of this application imports when it starts.
    """
    celery = Celery(
        "voltbay",
        broker=settings.redis_url.get_secret_value(),
        include=tasks,
    )
    celery.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_time_limit=TASK_LIMIT_S,
        task_soft_time_limit=TASK_LIMIT_S - 10,
        task_default_queue="voltbay",
        task_publish_retry=True,
        # One try on a fresh connection; the relay and beat's next tick are the real retries.
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1},
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_S,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "socket_keepalive_options": silence.TCP,  # or beat and relay would stand still with a lost Redis
            # No retries of redis-py's own: it would connect again beneath the loop that takes tasks, and have it wait
            # for a word on a subscription that nobody sends. Celery connects anew when it hears of the loss.
        },
        beat_schedule=SCHEDULE,
        beat_schedule_filename=str(settings.home / "beat-schedule"),
        # Beat wakes often enough for its one-second entries.
        beat_max_loop_interval=1,
        timezone="UTC",
        enable_utc=True,
    )
    return celery


@setup_logging.connect
def _configure_logging(**_: object) -> None:
    logs.configure(Settings(), "worker")


@import_modules.connect
def _import_tasks(sender: Celery, **_: Any) -> None:
    """What Celery is about to import, with the collector at rest: what is imported stays. It need not be looked through
    while it grows, nor, frozen, ever again, neither here nor in the processes that are forked for the work.
    """
    gc.disable()
    try:
        for name in sender.conf.include:
            import_module(name)
    finally:
        gc.freeze()
        gc.enable()


app = create_celery(Settings())
