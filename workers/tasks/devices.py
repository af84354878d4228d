from fleet.common.clock import utc_now
from fleet.devices import dead_letters
from fleet.devices.sessions import mark_silent as mark_silent_stations
from workers.context import settings, transaction
from workers.policies import NEXT_TICK
from workers.task import task


@task("devices.mark_silent", NEXT_TICK)
def mark_silent() -> list[int]:
    """Stations that have not spoken for too long are offline, as long as a gateway would have heard them."""
    with transaction() as session:
        return mark_silent_stations(session, utc_now(), settings().offline_after_periods)


@task("devices.forget_dead_letters", NEXT_TICK)
def forget_dead_letters() -> int:
    with transaction() as session:
        return dead_letters.forget_old(session, utc_now())
