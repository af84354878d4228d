"""All threads of one gateway, started and ended in order."""

import socket
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from device_gateway import dialects
from device_gateway.broker_sync import BrokerSync
from device_gateway.business import FactHandler
from device_gateway.directory import Directory
from device_gateway.dispatcher import Dispatcher
from device_gateway.guard import Keyring
from device_gateway.lanes import Lanes, Surroundings
from device_gateway.metrics import Metrics
from device_gateway.mqtt import Link
from device_gateway.post import Outlet, Post
from device_gateway.received import Received
from device_gateway.reception import Reception
from device_gateway.relink_listener import RelinkListener
from device_gateway.watchdog import Watchdog, Watched
from fleet.common.clock import utc_now
from fleet.common.networks import CabinetNetworks
from fleet.common.vault import Vault
from fleet.devices import credentials, profiles
from fleet.settings import Settings

_LOG: Final = structlog.get_logger(__name__)
DRAIN_S: Final = 8.0


def client_id(settings: Settings, name: str) -> str:
    """Stays over restarts, and cannot be guessed: whoever connects under a client id takes its session over."""
    return f"{name}-{settings.secret_bytes(f'mqtt-client-id:{name}').hex()[:16]}"


def _relink(
    settings: Settings, name: str, deliver: Callable[[Received], object], metrics: Metrics
) -> RelinkListener | None:
    if settings.relink_port is None:
        return None
    networks = CabinetNetworks.of(settings)
    if networks.missing:
        _LOG.error("no Relink cabinet is let in: VOLTBAY_DEVICE_NETWORKS is not set")
    return RelinkListener(
        host=settings.relink_host,
        port=settings.relink_port,
        gateway=name,
        deliver=deliver,
        networks=networks,
        metrics=metrics,
    )


class Gateway:
    """`start`, then `stop` once. `name` is unique among gateways and stays over restarts: the broker keeps a session
    under it.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        handle: FactHandler,
        *,
        name: str,
        registry: CollectorRegistry | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.name = name
        self.metrics = Metrics(registry or CollectorRegistry())
        self.directory = Directory()
        self.reception = Reception(settings.ingest_buffer_max)
        keyring = Keyring(Vault.of(settings, credentials.PURPOSE))
        self.link = self._make_link(settings, keyring, clock)
        #: For Relink cabinets; None: VOLTBAY_RELINK_PORT is not set.
        self.relink = relink = _relink(settings, name, self.reception.deliver, self.metrics)
        outlet: Outlet = self.link if relink is None else Post(self.link, relink)
        self.dispatcher = Dispatcher(
            engine,
            outlet,
            self.metrics,
            name=name,
            clock=clock,
            vault=Vault.of(settings, profiles.PURPOSE),
            connected=lambda: () if relink is None else relink.stations,
            heard_through=self.reception.events_through,
        )
        self.lanes = Lanes(
            Surroundings(
                name=name,
                settings=settings,
                engine=engine,
                handle=handle,
                clock=clock,
                directory=self.directory,
                metrics=self.metrics,
                keyring=keyring,
                reception=self.reception,
                outlet=outlet,
                relink=relink,
            )
        )
        self._broker_sync = BrokerSync(settings, engine, clock=clock) if settings.broker_folder is not None else None
        self._watchdog = Watchdog(self._watched())

    def _make_link(self, settings: Settings, keyring: Keyring, clock: Callable[[], datetime]) -> Link:
        return Link(
            url=settings.mqtt_url.get_secret_value(),
            client_id=client_id(settings, self.name),
            subscriptions=dialects.subscriptions(settings.gateway_group),
            receive_maximum=settings.ingest_buffer_max // 2,
            deliver=self.reception.deliver,
            metrics=self.metrics,
            ca_file=str(settings.mqtt_ca_file) if settings.mqtt_ca_file else None,
            seal=lambda message: keyring.seal(message, round(clock().timestamp() * 1000)),
            is_full=self.reception.is_full,
        )

    def _watched(self) -> dict[str, Watched]:
        threads: dict[str, Watched] = {"mqtt": self.link, "dispatcher": self.dispatcher}
        threads |= {"upkeep": self.lanes.upkeep, "events": self.lanes.events}
        if self._broker_sync is not None:
            threads["broker-sync"] = self._broker_sync
        if self.relink is not None:
            threads["relink"] = self.relink
        return threads | {f"samples-{number}": lane for number, lane in enumerate(self.lanes.samples)}

    def start(self) -> None:
        if self.relink is not None:
            self.relink.start()
        if self._broker_sync is not None:  # before the watchdog, which ends the process for a thread that does not live
            self._broker_sync.start()
        for thread in (*self.lanes.all, self.lanes.upkeep, self.link, self.dispatcher, self._watchdog):
            thread.start()

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Stop reading, store and acknowledge what is here, tell the cabinets, say goodbye.

        With other gateways alive the broker gives them the new messages; the last one leaves them with the broker,
        which keeps them until it is back, and brings back what is not acknowledged.
        """
        give_up = monotonic() + drain_s
        self._watchdog.rest()
        if self._broker_sync is not None:
            self._broker_sync.stop(1.0)
        self.dispatcher.stop(drain_s / 4)
        if self.lanes.upkeep.others_alive():
            self.link.stop_reading()
        else:
            self.reception.close()
        for lane in self.lanes.all:
            lane.drain()
            lane.join(max(0.1, give_up - monotonic()))
            if lane.is_alive():
                _LOG.warning("not everything stored in time, it will come again", lane=lane.name)
                lane.abort()
        self.lanes.finish()
        self.lanes.upkeep.stop(max(0.1, give_up - monotonic()))
        if self.relink is not None:
            self.relink.stop(1.0)
        self.link.stop(max(1.0, give_up - monotonic()))


def default_name() -> str:
    return f"gateway-{socket.gethostname()}"[:64]
