"""Configuration, logs and firmware of cabinets: sweeps over rows, safe to run twice at once."""

from datetime import datetime, timedelta

from fleet.common.clock import utc_now
from fleet.devices.configuration import sync
from fleet.devices.firmware import releases
from fleet.devices.firmware.sweep import sweep
from fleet.devices.logs import collect
from workers.context import settings, transaction
from workers.policies import NEXT_TICK
from workers.task import task


@task("device_upkeep.sync_configuration", NEXT_TICK)
def sync_configuration() -> int:
    """Put stations' configuration together anew and send what they lack."""
    with transaction() as session:
        return sync.sweep(session, utc_now()).sent


@task("device_upkeep.collect_logs", NEXT_TICK)
def collect_logs() -> int:
    """Ask again for pieces of logs that have not come."""
    with transaction() as session:
        return collect.sweep(session, utc_now())


@task("device_upkeep.forget_logs", NEXT_TICK)
def forget_logs() -> int:
    now = utc_now()
    with transaction() as session:
        return collect.forget_old(session, now - timedelta(days=settings().device_log_days))


@task("device_upkeep.roll_out_firmware", NEXT_TICK)
def roll_out_firmware() -> int:
    """Rollouts learn what became of their stations, halt, or tell the next ones."""
    chosen = settings()
    secret = chosen.secret_bytes("firmware-links")

    def make_link(release_id: int, station: str, expires_at: datetime) -> str:
        return releases.link(secret, chosen.device_base_url, release_id, station, expires_at)

    with transaction() as session:
        return sweep(session, utc_now(), make_link)
