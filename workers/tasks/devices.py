from datetime import timedelta

from fleet.common.clock import utc_now
from fleet.devices import calls, dead_letters, forgetting, reconcile, silence
from workers.context import settings, transaction
from workers.policies import NEXT_TICK
from workers.task import task


@task("devices.mark_silent", NEXT_TICK)
def mark_silent() -> list[int]:
    """Stations that have not spoken for too long are offline, as long as a gateway would have heard them."""
    now = utc_now()
    with transaction() as session:
        silence.watch_gateways(session, now)
        return silence.mark_silent(session, now, settings().offline_after_periods)


@task("devices.reconcile", NEXT_TICK)
def ask_for_inventories() -> list[int]:
    """Stations that are online and idle, and have not shown their slots for a period."""
    with transaction() as session:
        return reconcile.ask_due(session, utc_now(), timedelta(seconds=settings().reconcile_every_s))


@task("devices.forget_dead_letters", NEXT_TICK)
def forget_dead_letters() -> int:
    with transaction() as session:
        return dead_letters.forget_old(session, utc_now())


@task("devices.forget_calls", NEXT_TICK)
def forget_calls() -> int:
    with transaction() as session:
        return calls.forget_old(session, utc_now())


@task("devices.forget_events", NEXT_TICK)
def forget_events() -> int:
    """Events past their time leave the inbox, some stations in a transaction."""
    now = utc_now()
    before = now - timedelta(days=settings().device_event_days)
    forgotten = after = 0
    while True:
        with transaction() as session:
            stations = forgetting.due(session, before, after=after)
            if not stations:
                return forgotten
            forgotten += forgetting.forget(session, stations, before, now)
        after = stations[-1]
