"""All threads of one gateway, started and ended in order."""

import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from device_gateway import dialects
from device_gateway.broker_sync import BrokerSync
from device_gateway.buffer import Buffer
from device_gateway.business import FactHandler
from device_gateway.directory import Directory
from device_gateway.dispatcher import Dispatcher
from device_gateway.duties import BANKS_EVERY_S, EventDuties, Presence, SampleDuties, Timer
from device_gateway.event_ingest import EventIngest
from device_gateway.gaps import Gaps
from device_gateway.guard import Guard, Keyring
from device_gateway.habits import Habits
from device_gateway.ingest import Ingest
from device_gateway.lane import Lane
from device_gateway.metrics import Metrics
from device_gateway.mqtt import Link
from device_gateway.post import Outlet, Post
from device_gateway.received import Received
from device_gateway.relink_listener import RelinkListener
from device_gateway.replay import replay_requested
from device_gateway.sample_ingest import SampleIngest, Shared
from device_gateway.touch import Touches
from device_gateway.vendors import VendorIngest
from device_gateway.watchdog import Watchdog, Watched
from fleet.common.clock import utc_now
from fleet.common.networks import CabinetNetworks
from fleet.common.vault import Vault
from fleet.devices import credentials, profiles
from fleet.devices.profiles import PURPOSE
from fleet.settings import Settings
from fleet.telemetry.deadband import Deadband

_LOG: Final = structlog.get_logger(__name__)
#: Telemetry of several thousand cabinets in one transaction would keep the next events from the processor for long.
SAMPLE_BATCH: Final = 500
#: While one writes the other one decodes.
SAMPLE_LANES: Final = 2
DRAIN_S: Final = 8.0
_TELEMETRY_END: Final = "/up/telemetry"


def client_id(settings: Settings, name: str) -> str:
    """Stays over restarts, and cannot be guessed: whoever connects under a client id takes its session over."""
    return f"{name}-{settings.secret_bytes(f'mqtt-client-id:{name}').hex()[:16]}"


def _relink(settings: Settings, name: str, deliver: Callable[[Received], None]) -> RelinkListener | None:
    if settings.relink_port is None:
        return None
    networks = CabinetNetworks.of(settings)
    if networks.missing:
        _LOG.error("no Relink cabinet is let in: VOLTBAY_DEVICE_NETWORKS is not set")
    return RelinkListener(
        host=settings.relink_host, port=settings.relink_port, gateway=name, deliver=deliver, networks=networks
    )


def _cut_locked_out(engine: Engine, relink: RelinkListener) -> None:
    """End the connections of stations that an operator revoked: nothing of theirs could be revoked at the broker."""
    held = relink.stations
    if held:
        with Session(engine) as session:
            relink.cut(profiles.locked_out(session, held))


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
        self._events = Buffer()
        self._samples = Buffer(settings.ingest_buffer_max)
        self._limit = settings.ingest_buffer_max
        self._keyring = Keyring(Vault.of(settings, credentials.PURPOSE))
        self._closed = False
        self.link = Link(
            url=settings.mqtt_url.get_secret_value(),
            client_id=client_id(settings, name),
            subscriptions=dialects.subscriptions(settings.gateway_group),
            receive_maximum=settings.ingest_buffer_max // 2,
            deliver=self._deliver,
            metrics=self.metrics,
            ca_file=str(settings.mqtt_ca_file) if settings.mqtt_ca_file else None,
            seal=lambda message: self._keyring.seal(message, round(clock().timestamp() * 1000)),
        )
        #: For Relink cabinets; None: VOLTBAY_RELINK_PORT is not set.
        self.relink = _relink(settings, name, self._deliver)
        self._outlet: Outlet = self.link if self.relink is None else Post(self.link, self.relink)
        relink = self.relink
        self.dispatcher = Dispatcher(
            engine,
            self._outlet,
            self.metrics,
            name=name,
            clock=clock,
            vault=Vault.of(settings, PURPOSE),
            connected=lambda: () if relink is None else relink.stations,
        )
        self._build_lanes(settings, engine, handle, clock)
        self._broker_sync = BrokerSync(settings, engine, clock=clock) if settings.broker_folder is not None else None
        extra: dict[str, Watched] = {} if self._broker_sync is None else {"broker-sync": self._broker_sync}
        if relink is not None:
            extra["relink"] = relink
        self._watchdog = Watchdog(
            {
                "mqtt": self.link,
                "events": self._event_lane,
                "dispatcher": self.dispatcher,
                **extra,
                **{f"samples-{number}": lane for number, lane in enumerate(self._sample_lanes)},
            }
        )

    def _build_lanes(
        self, settings: Settings, engine: Engine, handle: FactHandler, clock: Callable[[], datetime]
    ) -> None:
        habits = Habits(self.directory, settings.offline_after_periods)
        presence = Presence(engine, Touches(self.directory), habits, clock, settings.offline_after_periods)
        gaps = Gaps(
            engine,
            self.directory,
            handle,
            wait=timedelta(seconds=settings.gap_wait_s),
            give_up=timedelta(seconds=settings.gap_give_up_s),
            clock=clock,
        )
        self._duties = EventDuties(
            engine=engine,
            directory=self.directory,
            link=self._outlet,
            buffer=self._events,
            signs=presence,
            gaps=gaps,
            metrics=self.metrics,
            buffers=(self._samples, self._events),
            name=self.name,
            clock=clock,
            replays=lambda: replay_requested(engine, handle, settings, clock()),
            heartbeats=set if self.relink is None else self.relink.take_heard,
            lockouts=tuple if self.relink is None else partial(_cut_locked_out, engine, self.relink),
        )
        deadband = Deadband.from_settings(settings)
        thin = None if deadband is None else deadband.thin
        self._event_lane = Lane(
            "events",
            self._events,
            self._guarded(
                engine,
                clock,
                EventIngest(
                    engine,
                    self.directory,
                    handle,
                    telemetry_s=settings.telemetry_s,
                    clock=clock,
                    vendors=VendorIngest(
                        engine, self.directory, handle, Vault.of(settings, PURPOSE), self.name, thin=thin, habits=habits
                    ),
                ),
            ),
            self._outlet,
            self.metrics,
            batch_max=settings.ingest_batch_max,
            after=self._duties.after,
            tick=self._duties.tick,
        )
        shared = Shared(thin, habits)
        bank_timer = Timer(BANKS_EVERY_S)
        self._sample_duties = [
            SampleDuties(SampleIngest(engine, self.directory, clock, shared), bank_timer) for _ in range(SAMPLE_LANES)
        ]
        self._sample_lanes = [
            Lane(
                "samples",
                self._samples,
                self._guarded(engine, clock, duties.ingest),
                self.link,
                self.metrics,
                batch_max=SAMPLE_BATCH,
                after=lambda done: presence.heard(done.heard),
                tick=duties.tick,
            )
            for duties in self._sample_duties
        ]

    def _guarded(self, engine: Engine, clock: Callable[[], datetime], ingest: Ingest) -> Guard:
        return Guard(ingest, engine, self._keyring, clock)

    def start(self) -> None:
        if self.relink is not None:
            self.relink.start()
        if self._broker_sync is not None:  # before the watchdog, which ends the process for a thread that does not live
            self._broker_sync.start()
        for thread in (self._event_lane, *self._sample_lanes, self.link, self.dispatcher, self._watchdog):
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
        if self._duties.others_alive():
            self.link.stop_reading()
        else:
            self._closed = True
        for lane in (self._event_lane, *self._sample_lanes):
            lane.drain()
            lane.join(max(0.1, give_up - monotonic()))
            if lane.is_alive():
                _LOG.warning("not everything stored in time, it will come again", lane=lane.name)
                lane.abort()
        self._duties.finish()
        for duties in self._sample_duties:
            duties.finish()
        if self.relink is not None:
            self.relink.stop(1.0)
        self.link.stop(max(1.0, give_up - monotonic()))

    def _deliver(self, received: Received) -> None:
        """In the network thread: sort by lane and return. Samples may be dropped, and so may what came with QoS 0."""
        if self._closed:
            return
        if received.topic.endswith(_TELEMETRY_END):
            self._samples.append(received)
        elif received.qos or len(self._events) < self._limit:
            self._events.append(received)
        else:
            self._events.dropped += 1


def default_name() -> str:
    return f"gateway-{socket.gethostname()}"[:64]
