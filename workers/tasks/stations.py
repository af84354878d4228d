from fleet.common.clock import utc_now
from fleet.stations import health
from fleet.stations.rules import HealthPolicy
from workers.context import settings, transaction
from workers.policies import NEXT_TICK
from workers.task import task


@task("stations.judge_banks", NEXT_TICK)
def judge_banks() -> int:
    """Banks that are hot or worn are taken out of use, old ones are flagged."""
    with transaction() as session:
        return health.sweep_banks(session, HealthPolicy.from_settings(settings()), utc_now())
