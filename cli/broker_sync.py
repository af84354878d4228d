import signal
import threading
from types import FrameType
from typing import Annotated

import typer

from device_gateway.broker_sync import BrokerSync
from fleet.common import logs
from fleet.common.clock import utc_now
from fleet.db import create_engine_from
from fleet.settings import Settings


def broker_sync(
    once: Annotated[
        bool, typer.Option("--once", help="Write the files for a broker that has not started, and end.")
    ] = False,
) -> None:
    """Keep the broker's list of devices' credentials in line with the database: VOLTBAY_BROKER_FOLDER, …_PID_FILE.

    Runs beside the broker, as its user. `voltbay up` needs none: its gateway does the same.
    """
    settings = Settings()
    logs.configure(settings, "broker-sync")
    if settings.broker_folder is None:
        raise typer.BadParameter("VOLTBAY_BROKER_FOLDER is not set")
    url = settings.database_url.get_secret_value()
    engine = create_engine_from(url, pool_size=2, name="voltbay-broker-sync")
    sync = BrokerSync(settings, engine, clock=utc_now)
    if once:
        sync.prepare()
    else:
        _run(sync)
    engine.dispose()


def _run(sync: BrokerSync) -> None:
    """Until SIGTERM or SIGINT, or until it fails."""
    ending = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ending.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    sync.start()
    while sync.is_alive() and not ending.wait(1.0):
        pass
    if not ending.is_set():
        raise typer.Exit(1)
    sync.stop(10)
