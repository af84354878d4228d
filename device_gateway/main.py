"""The gateway process: `python -m device_gateway`."""

import os
import signal
from threading import Event
from types import FrameType
from typing import Final

import structlog
from prometheus_client import REGISTRY, start_http_server

import fleet.registry  # noqa: F401  # every table: foreign keys of some point into areas that this process has no use for
from device_gateway.business import fact_handler
from device_gateway.gateway import Gateway, default_name
from fleet.common import interpreter, logs
from fleet.db import create_engine_from
from fleet.settings import Settings

_LOG: Final = structlog.get_logger(__name__)
#: Threads that use the database: that of events, two of samples, the dispatcher, upkeep.
_THREADS: Final = 5


def main() -> int:
    """Run until SIGTERM or SIGINT; the second one does not wait for anything."""
    settings = Settings()
    logs.configure(settings, "gateway")
    ending = Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        if ending.is_set():
            os._exit(128 + number)
        ending.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    engine = create_engine_from(
        settings.database_url.get_secret_value(),
        pool_size=_THREADS,
        max_overflow=2,
        name="voltbay-gateway",
    )
    gateway = Gateway(
        settings,
        engine,
        fact_handler(settings),
        name=settings.gateway_name or default_name(),
        registry=REGISTRY,
    )
    if settings.metrics_port is not None:
        start_http_server(settings.metrics_port, addr=settings.http_host)
    interpreter.tune()
    gateway.start()
    _LOG.info("gateway runs", name=gateway.name)
    while not ending.wait(3600):
        pass
    _LOG.info("gateway ends: storing what is here")
    gateway.stop()
    engine.dispose()
    _LOG.info("gateway has ended")
    return 0
