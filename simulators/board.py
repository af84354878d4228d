"""What every part of a cabinet works on: identity, counters, clock, dice, slots, journal, and what to do next."""

from collections import deque
from random import Random
from typing import Final

from firmware_protocol.encoding import Encoding
from firmware_protocol.firmware.documents import Release
from firmware_protocol.firmware.trust import installed
from firmware_protocol.messages import EventMessage, JournalLost, SampleMessage, SessionMessage, UpFrame
from firmware_protocol.types import ConfigValue, ResetCause
from simulators.agenda import Agenda, Scope
from simulators.clock import CabinetClock
from simulators.faults import FaultKind, FaultSet
from simulators.hands import Hands
from simulators.journal import Journal, JournalEntry
from simulators.memory import CommandMemory
from simulators.outputs import Output
from simulators.slots import Slots
from simulators.spec import StationSpec
from simulators.transmitter import Transmitter
from simulators.tuning import Tuning, Wire

#: Lines of its own log that a cabinet keeps.
LOG_LINES: Final = 20
#: A frame held back to be shuffled waits no longer than this.
MAX_HELD_MS: Final = 300
#: An event that is not acknowledged for so long is sent again.
UNACKNOWLEDGED_MS: Final = 60_000


class Board:
    """Shared state of one cabinet. Time is passed in; randomness comes from the seed and the station's code only."""

    def __init__(self, station: StationSpec, tuning: Tuning, hands: Hands, seed: int, now_ms: int) -> None:
        self.station = station
        self.tuning = tuning
        self.hands = hands
        self.rng = Random(f"cabinet:{seed}:{station.code}")  # noqa: S311  # reproducible, not secret
        self.faults = FaultSet(self.rng)
        self.agenda = Agenda()
        self.clock = CabinetClock()
        self.outputs: list[Output] = []
        self.transmitter = Transmitter(_encoding(tuning.encoding, self.rng), self.rng, self.faults, self.outputs)
        self.slots = Slots.of(station, now_ms)
        self.journal = Journal(tuning.journal_size)
        self.memory = CommandMemory()
        self.boot = 0
        self.epoch = 0
        self.seq = 0
        self.sample_seq = 0
        self.booted_ms = now_ms
        #: The firmware runs; otherwise nothing is noticed, whatever happens to the slots.
        self.running = False
        #: Name of the credential that the session was opened with.
        self.credential: str | None = None
        self.reset_cause = ResetCause.POWER_ON
        #: The backend should see every slot: after a start, and after events were lost.
        self.inventory_due = True
        self.config: dict[str, ConfigValue] = {}
        self.config_version = 0
        #: What runs; what it is trusted by; what was verified and starts next; what has started and must prove itself.
        self.firmware = tuning.firmware
        self.trust = tuning.trust
        self.starting: Release | None = None
        self.trial: Release | None = None
        self.sent_logs: dict[str, list[bytes]] = {}
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        #: Events may leave: the gate is open.
        self.welcomed = False
        #: Something changed that must survive a restart.
        self.dirty = True
        self._overflow_reported = False
        self._repeat_planned = False
        self.ambient_c = self.rng.uniform(17, 29)

    def record(self, message: EventMessage, now_ms: int) -> None:
        """Write an event to the journal and, when the gate is open, send it."""
        self.dirty = True
        if not self.running:
            return
        self.seq += 1
        entry = JournalEntry(boot=self.boot, seq=self.seq, at_ms=self.clock.own(now_ms), message=message)
        if self.journal.append(entry):
            self._report_overflow(now_ms)
        if self.welcomed:
            self.send_event(entry, now_ms, replayed=False)

    def start_firmware(self) -> None:
        """At power on: what was installed starts, or gives way to what ran before."""
        starting, self.starting, self.trial = self.starting or self.trial, None, None
        if starting is not None and self.faults.strikes(FaultKind.UPDATE_ROLLS_BACK) is None:
            self.firmware, self.trial = starting.version, starting

    def prove_firmware(self, now_ms: int) -> None:
        """Welcomed: the new firmware works, and nothing older is taken from here on."""
        if self.trial is not None and self.trust is not None:
            self.trust = installed(self.trust, self.trial, self.clock.server(now_ms) or now_ms)
            self.trial, self.dirty = None, True

    def note(self, line: str, now_ms: int) -> None:
        """A line of the cabinet's own log, as CollectLogs returns it."""
        self.log.append(f"{now_ms} {line}")

    def send_event(self, entry: JournalEntry, now_ms: int, *, replayed: bool) -> None:
        """Give one journaled event to the network."""
        if not self.transmitter.holding:
            # Should this event be held back to be shuffled, it will not wait for company that never comes.
            self.agenda.at(now_ms + MAX_HELD_MS, Scope.LINK, lambda _now: self.transmitter.release(self.station.code))
        entry.sent_ms = now_ms
        self._repeat_at(now_ms + UNACKNOWLEDGED_MS)
        self.transmitter.event(
            UpFrame(
                station=self.station.code,
                boot=entry.boot,
                seq=entry.seq,
                at_ms=entry.at_ms,
                message=entry.message,
                replayed=replayed,
            )
        )

    def send_sample(self, message: SampleMessage, now_ms: int) -> None:
        """Heartbeat or telemetry: numbered on its own, never kept."""
        self.sample_seq += 1
        self.transmitter.frame(self._frame(message, self.sample_seq, now_ms))

    def send_session(self, message: SessionMessage, now_ms: int) -> None:
        self.transmitter.frame(self.session_frame(message, now_ms))

    def session_frame(self, message: SessionMessage, now_ms: int | None) -> UpFrame:
        """`now_ms` None: written for later, as the will is."""
        return self._frame(message, 0, now_ms)

    def send_lost(self, now_ms: int) -> None:
        """Say which events nobody should wait for."""
        for lost in self.journal.lost:
            self.send_session(JournalLost(boot=lost.boot, first=lost.first, last=lost.last), now_ms)

    def _repeat_at(self, due_ms: int) -> None:
        if not self._repeat_planned:
            self._repeat_planned = True
            self.agenda.at(due_ms, Scope.LINK, self._repeat_unacknowledged)

    def _repeat_unacknowledged(self, now_ms: int) -> None:
        """The broker took it, and yet it may have been lost behind the broker: protocol 7.7."""
        for entry in list(self.journal):
            if entry.sent_ms <= now_ms - UNACKNOWLEDGED_MS:
                self.send_event(entry, now_ms, replayed=True)
        self._repeat_planned = False  # only now: what was just sent again must not put off what is due before it
        if oldest := min((entry.sent_ms for entry in self.journal), default=None):
            self._repeat_at(oldest + UNACKNOWLEDGED_MS)

    def link_down(self) -> None:
        """The gate is shut, and everything that the connection had planned is off."""
        self.welcomed = self._overflow_reported = self._repeat_planned = False
        self.agenda.cancel(Scope.LINK)
        self.transmitter.reset()

    def _report_overflow(self, now_ms: int) -> None:
        """Once a second at most: an overflowing journal loses one event for each new one."""
        self.inventory_due = True
        if self.welcomed and not self._overflow_reported:
            self._overflow_reported = True
            self.agenda.at(now_ms + 1000, Scope.LINK, self._overflow_due)

    def _overflow_due(self, now_ms: int) -> None:
        self._overflow_reported = False
        self.send_lost(now_ms)

    def _frame(self, message: SessionMessage | SampleMessage, seq: int, now_ms: int | None) -> UpFrame:
        at_ms = None if now_ms is None else self.clock.own(now_ms)
        return UpFrame(station=self.station.code, boot=self.boot, seq=seq, at_ms=at_ms, message=message)


def _encoding(wire: Wire, rng: Random) -> Encoding:
    if wire is Wire.MIXED:
        return rng.choice((Encoding.JSON, Encoding.CBOR))
    return Encoding.JSON if wire is Wire.JSON else Encoding.CBOR
