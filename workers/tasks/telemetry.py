from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.telemetry import alerting
from fleet.telemetry.upkeep import upkeep as telemetry_upkeep
from workers.consumers import set_consumer
from workers.context import transaction
from workers.policies import NEXT_TICK
from workers.task import task


@task("telemetry.upkeep", NEXT_TICK)
def upkeep() -> None:
    """Partitions ahead, rollups, retention, and which samples were stored."""
    with transaction() as session:
        telemetry_upkeep(session, utc_now())


@task("telemetry.evaluate_alerts", NEXT_TICK)
def evaluate_alerts() -> int:
    """All rules on all stations: durations pass without an event. Returns how many alerts opened."""
    with transaction() as session:
        return alerting.sweep(session, utc_now()).opened


@set_consumer("telemetry.look_at_stations")
def look_at_stations(session: Session, payloads: Sequence[dict[str, Any]], now: datetime) -> None:
    """Something happened there: what needs no duration is told at once."""
    alerting.look_at_stations(session, {payload["station_id"] for payload in payloads}, now)
