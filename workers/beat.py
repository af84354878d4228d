"""Beat's Celery application: `celery -A workers.beat beat`.

It sends tasks by their names and runs none. So it imports none, and not the whole of the business with them: it takes
less than half the memory, and is there two seconds sooner (docs/decisions/0350).
"""

from celery.signals import after_task_publish

from fleet.settings import Settings
from workers.app import create_celery

_SETTINGS = Settings()
app = create_celery(_SETTINGS, tasks=())


@after_task_publish.connect(sender="rentals.sweep_rentals")
def _sent(**_: object) -> None:
    """For deploy/healthcheck.py, every ten seconds. The schedule's own file says nothing of the sort: it is written
    through memory, which on a tmpfs leaves the time of its change as it was.
    """
    (_SETTINGS.home / "beat-sent").touch()
