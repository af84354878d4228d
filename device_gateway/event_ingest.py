from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import Engine

from device_gateway import clocks, events, faults, welcomes
from device_gateway.business import FactHandler
from device_gateway.directory import Directory
from device_gateway.ingest import Clock, Done, Ingest
from device_gateway.intake import Arrived, Intake
from device_gateway.vendors import VendorIngest
from device_gateway.work import Work
from firmware_protocol.channels import type_name
from fleet.db import session_scope
from fleet.devices import streams

_LOG: Final = structlog.get_logger(__name__)
#: Batches of no more events than these are tried without savepoints first: all of it is done twice when one is refused.
FEW: Final = 8


class EventIngest(Ingest):
    """Everything but samples: one transaction for sessions and what they need, one for journaled events.

    Two, because the first locks stations and the second what the business locks; both together would meet in circles.
    """

    def __init__(
        self,
        engine: Engine,
        directory: Directory,
        handle: FactHandler,
        *,
        telemetry_s: int,
        clock: Clock,
        vendors: VendorIngest | None = None,
        asks_later: bool = True,
    ) -> None:
        """`asks_later`: a sweep asks cabinets for their slots that should have shown them by themselves."""
        super().__init__(engine, directory, clock)
        self._handle = handle
        self._telemetry_s = telemetry_s
        #: Streams that exist: the boot last heard of each station. They are never deleted.
        self._streams: dict[int, int] = {}
        self._vendors = vendors
        self._asks_later = asks_later

    def _store(self, sorted_: Intake, now: datetime) -> Done:
        done = Done()
        new_streams = self._unknown_streams(sorted_.events)
        if sorted_.rejected or sorted_.session or new_streams:
            self._sessions(sorted_, new_streams, done, now)
        if sorted_.events or sorted_.lost:
            self._events(sorted_, done, now)
        if sorted_.vendors and self._vendors is not None:
            done.add(self._vendors.take(sorted_.vendors, now))
        return done

    def _sessions(self, sorted_: Intake, new_streams: set[streams.Key], done: Done, now: datetime) -> None:
        with session_scope(self._engine) as session:
            self._reject_all(session, sorted_, done.tally)
            if sorted_.session:
                said = welcomes.take(
                    session, sorted_.session, now, telemetry_s=self._telemetry_s, asks_later=self._asks_later
                )
                done.outbound.messages += said.messages
            if new_streams:
                streams.lock_stations(session, sorted({key[0] for key in new_streams}))
                streams.create(session, new_streams)
        self._streams.update(sorted(new_streams))
        for each in sorted_.session:
            done.tally.applied[type_name(type(each.frame.message))] += 1
            done.heard.add(each.station.id)

    def _unknown_streams(self, arrived: Sequence[Arrived]) -> set[streams.Key]:
        known = self._streams
        return {
            (station_id, each.frame.boot)
            for each in arrived
            if known.get(station_id := each.station.id) != each.frame.boot
        }

    def _events(self, sorted_: Intake, done: Done, now: datetime) -> None:
        """A few events do without savepoints: whatever fails is taken back whole, and begun anew with them (0335)."""
        if len(sorted_.events) <= FEW:
            try:
                done.add(self._apply(sorted_, now, guarded=False))
            except Exception as error:
                if faults.is_transient(error):
                    raise
                _LOG.warning("events applied under savepoints", events=len(sorted_.events), error=str(error)[:500])
            else:
                return
        done.add(self._apply(sorted_, now, guarded=True))

    def _apply(self, sorted_: Intake, now: datetime, *, guarded: bool) -> Done:
        with session_scope(self._engine) as session:
            work = Work(session, self._directory, self._handle, now, guarded=guarded)
            events.take(work, sorted_.events, sorted_.lost)
            astray = clocks.astray(session, sorted_.events)
            told = clocks.renew(session, self._directory, astray, now, telemetry_s=self._telemetry_s)
            work.outbound.messages += told.messages
        return Done(work.outbound, work.tally, {each.station.id for each in (*sorted_.events, *sorted_.lost)})
