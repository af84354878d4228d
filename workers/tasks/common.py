from datetime import timedelta

from fleet.common.clock import utc_now
from fleet.common.idempotency import forget_old
from fleet.common.outbox import forget_settled
from workers.context import transaction
from workers.policies import NEXT_TICK
from workers.task import task

#: How long a settled event can still be looked up, and a repeated message of it is recognized.
EVENTS_KEPT = timedelta(days=7)
_BATCH = 5000


@task("common.forget_settled_events", NEXT_TICK)
def forget_settled_events() -> int:
    with transaction() as session:
        return forget_settled(session, utc_now() - EVENTS_KEPT, _BATCH)


@task("common.forget_idempotency_keys", NEXT_TICK)
def forget_idempotency_keys() -> int:
    with transaction() as session:
        return forget_old(session, utc_now())
