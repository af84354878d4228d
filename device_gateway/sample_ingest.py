from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Final

from sqlalchemy import Engine

from device_gateway.directory import Directory
from device_gateway.habits import Habits
from device_gateway.ingest import Clock, Done, Ingest
from device_gateway.intake import Arrived, Intake
from firmware_protocol.channels import type_name
from firmware_protocol.messages import Heartbeat, SlotTelemetry
from fleet.common.roundtrips import may_be_lost
from fleet.db import session_scope
from fleet.devices.cursor import CLOCK_SET_BACK_MS
from fleet.telemetry.bank_values import BankValues
from fleet.telemetry.samples import Sample
from fleet.telemetry.store import SampleStore, Thin, Written

_MOST_CLOCKS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Shared:
    """What the threads of samples have in common.

    `turn`: who writes. Two threads that write at once cost PostgreSQL half as much again (pages and WAL of one table);
    one that writes while the other one decodes costs nothing.
    """

    #: Which samples become rows; all of them without it.
    thin: Thin | None = None
    #: Learns from heartbeats.
    habits: Habits | None = None
    turn: Lock = field(default_factory=Lock)
    banks: BankValues = field(default_factory=BankValues)


class SampleIngest(Ingest):
    """Heartbeats and telemetry. What is lost is lost; what comes twice is stored once."""

    def __init__(self, engine: Engine, directory: Directory, clock: Clock, shared: Shared | None = None) -> None:
        super().__init__(engine, directory, clock)
        self._shared = shared or Shared()
        self._samples = SampleStore(self._shared.thin, self._shared.banks)
        self._offsets: OrderedDict[tuple[int, int], int] = OrderedDict()

    def _store(self, sorted_: Intake, now: datetime) -> Done:
        done = Done()
        samples = [self._sample(each) for each in sorted_.samples]
        prepared = self._samples.prepare(samples)
        with self._shared.turn, session_scope(self._engine) as session:
            if sorted_.rejected:
                self._reject_all(session, sorted_, done.tally)
            else:
                may_be_lost(session)  # as every sample may on its way here
            fresh, seen = self._samples.write(session, prepared, now) if samples else Written([], [])
        self._shared.banks.see(seen)
        if self._shared.habits is not None:
            self._shared.habits.beats((each.station_id, each.at.timestamp(), each.message) for each in fresh)
        done.heard = {each.station_id for each in samples}
        for sample in fresh:
            done.tally.applied[type_name(type(sample.message))] += 1
        if len(fresh) < len(samples):
            done.tally.duplicates["sample"] += len(samples) - len(fresh)
        return done

    def write_banks(self) -> None:
        """What the samples said of power banks, into the banks' rows. Beside another thread's turn: other tables."""
        banks = self._shared.banks
        due = banks.due()
        if not due:
            return
        try:
            with session_scope(self._engine) as session:
                may_be_lost(session)
                banks.write(session, due)
        except Exception:
            banks.forget(due)
            raise

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
