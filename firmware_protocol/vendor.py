"""The seam for cabinets that were not made for this backend (decision 0085).

Their frames carry no (boot, seq) and name no command, one frame may mean several things, and some can only be read by
someone who knows the cabinet. So a vendor's dialect reads a frame in the light of what is `Known`, and gives a
`Reading`; the gateway numbers its events under the lock of the station's stream, and all the rest is as for native
cabinets.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from msgspec import Struct

from firmware_protocol.commands import CommandFrame
from firmware_protocol.dialect import Capabilities, Published
from firmware_protocol.messages import Deduced, EventMessage, Heartbeat, SlotTelemetry

#: Numbers of the holes of each board, in the order in which the cabinet lists them.
Layout = tuple[tuple[int, ...], ...]


class KnownEject(Struct, frozen=True, kw_only=True):
    """An eject that this cabinet was sent."""

    command_id: str
    slot: int | None
    serial: str | None
    #: No verdict yet: this is the one that an answer without a name may mean.
    in_flight: bool
    succeeded: bool = False
    #: Seconds since it was sent.
    age_s: float = 0


class KnownQuestion(Struct, frozen=True, kw_only=True):
    """A question for the inventory that this cabinet was sent."""

    command_id: str
    #: As it was said.
    payload: bytes | None
    #: The code that its result was given.
    code: str | None = None


class Known(Struct, frozen=True, kw_only=True):
    """What is known of one cabinet when a frame of it is read, or a command to it written."""

    station: str
    hardware_id: str
    slot_count: int
    #: As commissioned; None: the first complete inventory will tell.
    layout: Layout | None = None
    revision: str | None = None
    tolerate_checksum: bool = False
    #: Shared with the cabinet, where its dialect has one.
    secret: bytes | None = None
    #: Now, in seconds since 1970.
    at_s: int = 0
    #: Of the last days, newest first; at most one is in flight.
    ejects: tuple[KnownEject, ...] = ()
    #: The inventory command that waits longest for its answer.
    inventory_asked: str | None = None
    #: The newest inventory command that was sent, while nobody knows the revision: words differ between them.
    last_question: KnownQuestion | None = None
    #: The last inventory was refused.
    stale: bool = False
    #: Serial → slot of the banks that it holds, by our books.
    banks: Mapping[str, int] = {}
    #: Slot → what is wrong with it, by our books.
    faults: Mapping[int, str] = {}

    @property
    def eject_in_flight(self) -> KnownEject | None:
        return next((each for each in self.ejects if each.in_flight), None)

    def last_eject_of(self, serial: str) -> KnownEject | None:
        return next((each for each in self.ejects if each.serial == serial), None)


class Login(Struct, frozen=True, kw_only=True):
    """A cabinet begins a connection and wants to be let in."""

    firmware: str
    hardware: str
    #: Slots that it says it has, when it does.
    slots: int | None = None


class Reading(Struct, frozen=True, kw_only=True):
    """What one frame means. Empty: nothing that this backend has a use for."""

    events: tuple[EventMessage | Deduced, ...] = ()
    samples: tuple[Heartbeat | SlotTelemetry, ...] = ()
    #: The layout and revision that this frame proves, when they were not known.
    layout: Layout | None = None
    revision: str | None = None
    login: Login | None = None
    #: What the cabinet is told once the events are stored.
    reply: bytes | None = None
    #: The heartbeat of a connection that this login begins.
    heartbeat: bytes | None = None


class Admission(Published, frozen=True, kw_only=True):
    """The reply that lets a cabinet in, on the connection that its topic names."""

    station_id: int
    epoch: int
    #: How its heartbeats must look from now on, and are answered; None: as they come.
    heartbeat: bytes | None = None


class Sender(NamedTuple):
    """Whose frame it is, as the transport says."""

    hardware_id: str
    #: The session that its connection belongs to, for dialects that are bound to one; 0 before it was let in.
    epoch: int | None = None


class VendorDialect(Protocol):
    """Pure: no I/O, no clock. Everything raises only ProtocolError, in bounded time and memory."""

    name: str
    capabilities: Capabilities

    def sender(self, topic: str) -> Sender:
        """WrongChannel for a topic that is not of this dialect."""
        ...

    def is_login(self, payload: bytes) -> bool:
        """Whether the frame begins a connection, for dialects that are bound to one."""
        ...

    def read(self, topic: str, payload: bytes, known: Known) -> Reading: ...

    def encode(self, known: Known, frame: CommandFrame) -> Published:
        """UnsupportedCommand for what the dialect has no frame for."""
        ...
