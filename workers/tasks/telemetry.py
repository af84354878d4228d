from fleet.common.clock import utc_now
from fleet.telemetry.upkeep import upkeep as telemetry_upkeep
from workers.context import transaction
from workers.policies import NEXT_TICK
from workers.task import task


@task("telemetry.upkeep", NEXT_TICK)
def upkeep() -> None:
    """Partitions ahead, rollups, retention, and which samples were stored."""
    with transaction() as session:
        telemetry_upkeep(session, utc_now())
