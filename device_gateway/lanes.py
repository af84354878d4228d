"""The pipelines of one gateway: events first come, first served in one thread, samples and upkeep beside it (decisions
0341, 0355).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from device_gateway.business import FactHandler
from device_gateway.directory import Directory
from device_gateway.duties import BANKS_EVERY_S, EventDuties, Presence, SampleDuties, Timer
from device_gateway.event_ingest import EventIngest
from device_gateway.gaps import Gaps
from device_gateway.guard import Guard, Keyring
from device_gateway.habits import Habits
from device_gateway.ingest import Ingest
from device_gateway.lane import Lane
from device_gateway.metrics import Metrics
from device_gateway.post import Outlet
from device_gateway.reception import Reception
from device_gateway.relink_listener import RelinkListener
from device_gateway.replay import replay_requested
from device_gateway.sample_ingest import SampleIngest, Shared
from device_gateway.touch import Touches
from device_gateway.upkeep import Upkeep
from device_gateway.vendors import VendorIngest
from fleet.common.vault import Vault
from fleet.devices import profiles
from fleet.settings import Settings
from fleet.telemetry.deadband import Deadband

#: Telemetry of several thousand cabinets in one transaction would keep the next events from the processor for long.
SAMPLE_BATCH: Final = 500
#: Nobody waits for a sample, and one transaction for a dozen costs little more than for one.
SAMPLE_GATHER_S: Final = 0.25
#: Names of lanes in metrics and logs.
_EVENTS: Final = "events"
_SAMPLES: Final = "samples"
#: While one writes the other one decodes.
SAMPLE_LANES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all lanes of a gateway work with."""

    name: str
    settings: Settings
    engine: Engine
    handle: FactHandler
    clock: Callable[[], datetime]
    directory: Directory
    metrics: Metrics
    keyring: Keyring
    reception: Reception
    outlet: Outlet
    relink: RelinkListener | None


class Lanes:
    def __init__(self, around: Surroundings) -> None:
        settings = around.settings
        self._around = around
        self._habits = Habits(around.directory, settings.offline_after_periods)
        touches = Touches(around.directory)
        self._presence = Presence(around.engine, touches, self._habits, around.clock, settings.offline_after_periods)
        deadband = Deadband.from_settings(settings)
        self._thin = None if deadband is None else deadband.thin
        self.upkeep = self._make_upkeep()
        reception = around.reception
        self._event_duties = EventDuties(around.directory, around.outlet, reception.events, self._presence)
        self.events = self._make_events(self._event_duties)
        around.metrics.watch_buffer(_EVENTS, lambda: float(len(reception.events)))
        around.metrics.watch_buffer(_SAMPLES, lambda: float(len(reception.samples)))
        shared, bank_timer = Shared(self._thin, self._habits), Timer(BANKS_EVERY_S)
        self.sample_duties = [
            SampleDuties(
                SampleIngest(around.engine, around.directory, around.clock, shared), self._presence, bank_timer
            )
            for _ in range(SAMPLE_LANES)
        ]
        self.samples = [self._make_samples(duties) for duties in self.sample_duties]

    @property
    def all(self) -> tuple[Lane, ...]:
        return (self.events, *self.samples)

    def finish(self) -> None:
        """They have ended in good order."""
        self._event_duties.finish()
        for samples in self.sample_duties:
            samples.finish()

    def _make_upkeep(self) -> Upkeep:
        around, settings, relink = self._around, self._around.settings, self._around.relink
        engine, handle, clock = around.engine, around.handle, around.clock
        gaps = Gaps(
            engine,
            around.directory,
            handle,
            wait=timedelta(seconds=settings.gap_wait_s),
            give_up=timedelta(seconds=settings.gap_give_up_s),
            clock=clock,
        )
        return Upkeep(
            engine=engine,
            directory=around.directory,
            link=around.outlet,
            reception=around.reception,
            signs=self._presence,
            gaps=gaps,
            metrics=around.metrics,
            name=around.name,
            clock=clock,
            telemetry_s=settings.telemetry_s,
            replays=lambda: replay_requested(engine, handle, settings, clock()),
            heartbeats=set if relink is None else relink.take_heard,
            lockouts=tuple if relink is None else partial(_cut_locked_out, engine, relink),
        )

    def _make_events(self, duties: EventDuties) -> Lane:
        around, settings = self._around, self._around.settings
        vault = Vault.of(settings, profiles.PURPOSE)
        vendors = VendorIngest(
            around.engine,
            around.directory,
            around.handle,
            vault,
            around.name,
            thin=self._thin,
            habits=self._habits,
        )
        ingest = EventIngest(
            around.engine,
            around.directory,
            around.handle,
            telemetry_s=settings.telemetry_s,
            clock=around.clock,
            vendors=vendors,
            asks_later=settings.reconcile_every_s > 0,
        )
        return Lane(
            _EVENTS,
            around.reception.events,
            self._guarded(ingest),
            around.outlet,
            around.metrics,
            batch_max=settings.ingest_batch_max,
            after=duties.after,
            tick=duties.tick,
        )

    def _make_samples(self, duties: SampleDuties) -> Lane:
        return Lane(
            _SAMPLES,
            self._around.reception.samples,
            self._guarded(duties.ingest),
            self._around.outlet,
            self._around.metrics,
            batch_max=SAMPLE_BATCH,
            after=duties.after,
            tick=duties.tick,
            gather_s=SAMPLE_GATHER_S,
        )

    def _guarded(self, ingest: Ingest) -> Guard:
        return Guard(ingest, self._around.engine, self._around.keyring, self._around.clock)


def _cut_locked_out(engine: Engine, relink: RelinkListener) -> None:
    """End the connections of stations that an operator revoked: nothing of theirs could be revoked at the broker."""
    held = relink.stations
    if held:
        with Session(engine) as session:
            relink.cut(profiles.locked_out(session, held))
