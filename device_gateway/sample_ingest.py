from collections import OrderedDict
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine

from device_gateway.directory import Directory
from device_gateway.habits import Habits
from device_gateway.ingest import Clock, Done, Ingest
from device_gateway.intake import Arrived, Intake
from firmware_protocol.channels import type_name
from firmware_protocol.messages import Heartbeat, SlotTelemetry
from fleet.db import session_scope
from fleet.devices.cursor import CLOCK_SET_BACK_MS
from fleet.telemetry.samples import Sample
from fleet.telemetry.store import SampleStore, Thin

_MOST_CLOCKS: Final = 200_000


class SampleIngest(Ingest):
    """Heartbeats and telemetry. What is lost is lost; what comes twice is stored once."""

    def __init__(
        self,
        engine: Engine,
        directory: Directory,
        clock: Clock,
        thin: Thin | None = None,
        habits: Habits | None = None,
    ) -> None:
        """`thin`: which samples become rows; all of them without it. `habits`: learns from heartbeats."""
        super().__init__(engine, directory, clock)
        self._habits = habits
        self._samples = SampleStore(thin)
        self._offsets: OrderedDict[tuple[int, int], int] = OrderedDict()

    def _store(self, sorted_: Intake, now: datetime) -> Done:
        done = Done()
        samples = [self._sample(each) for each in sorted_.samples]
        with session_scope(self._engine) as session:
            self._reject_all(session, sorted_, done.tally)
            fresh = self._samples.store(session, samples, now) if samples else []
        if self._habits is not None:
            self._habits.beats((each.station_id, each.at.timestamp(), each.message) for each in fresh)
        done.heard = {each.station_id for each in samples}
        for sample in fresh:
            done.tally.applied[type_name(type(sample.message))] += 1
        if len(fresh) < len(samples):
            done.tally.duplicates["sample"] += len(samples) - len(fresh)
        return done

    def write_banks(self) -> None:
        """What the samples said of power banks, into the banks' rows."""
        with session_scope(self._engine) as session:
            self._samples.write_banks(session)

    def _sample(self, each: Arrived) -> Sample:
        frame = each.frame
        message = frame.message
        assert isinstance(message, Heartbeat | SlotTelemetry)
        station_id = each.station.id
        return Sample(station_id, frame.boot, frame.seq, self._at(station_id, each), message)

    def _at(self, station_id: int, each: Arrived) -> datetime:
        """The cabinet's time on our clock: the smallest difference seen in this boot had waited least on its way."""
        at_ms, received_ms = each.frame.at_ms, round(each.received.at * 1000)
        if at_ms is None:
            return each.received.received_at
        key = (station_id, each.frame.boot)
        measured, known = received_ms - at_ms, self._offsets.get(key)
        if known is None or measured < known or measured - known > CLOCK_SET_BACK_MS:
            self._offsets[key] = known = measured
            if len(self._offsets) > _MOST_CLOCKS:
                self._offsets.popitem(last=False)
        return datetime.fromtimestamp(min(at_ms + known, received_ms) / 1000, UTC)
