"""What a dialect is: a codec between bytes and messages, and an honest statement of what its cabinets can do."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from firmware_protocol.commands import CommandFrame, Control
from firmware_protocol.messages import UpFrame


class Cadence(Struct, frozen=True, kw_only=True):
    """How often a cabinet of this dialect is heard of, and how much silence means that it is away."""

    #: Seconds between its heartbeats until its own are known; None: what the backend asks it for.
    period_s: int | None = None
    #: One that is slower is learned and taken for true up to this.
    most_s: float = 3600
    #: It is away after so many of its periods (None: as many as the settings say), and this much more.
    periods: float | None = None
    margin_s: float = 0


class Capabilities(Struct, frozen=True, kw_only=True):
    """What the dispatcher and the pipeline may rely on. They act on these, never on a dialect's name."""

    #: Events carry (boot, seq): deduplicated, ordered, resent on request.
    sequence_numbers: bool
    #: Commands carry ids, and a repeated id never moves metal twice.
    command_ids: bool
    #: The cabinet itself refuses a command whose deadline has passed.
    honours_deadline: bool
    #: The cabinet keeps events until they are acknowledged.
    journal: bool
    #: After a restart it shows all its slots without being asked.
    shows_slots: bool = False
    #: MQTT quality of service for commands.
    command_qos: int
    #: `type` of every command that the dialect has a frame for; others are refused where they are ordered.
    commands: frozenset[str]
    #: Those among them that are never answered: sent is all that can be known of them.
    unanswered: frozenset[str] = frozenset()
    #: Names of `vendor_command`s, each with the arguments that it must have.
    vendor_commands: Mapping[str, tuple[str, ...]] = {}
    #: Only the gateway that holds the cabinet's connection can speak to it.
    connection_bound: bool = False
    #: Nothing is sent to a station that was not heard of within one of its heartbeat periods: what waits on its way
    #: would be carried out whenever it arrives.
    only_to_the_living: bool = False
    #: Seconds between two ejects of one cabinet, whatever became of the first.
    eject_gap_s: float = 0
    #: An inventory asked for sooner than this after an eject may still show the bank.
    self_check_s: float = 0
    #: How long the cabinet may take to answer; one question of a kind is asked at a time.
    answer_within_s: float = 15
    cadence: Cadence = Cadence()


class Published(Struct, frozen=True, kw_only=True):
    """One message for the broker."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    content_type: str | None = None


class Dialect(Protocol):
    """Pure: no I/O, no clock. `decode` and `decode_any` raise only ProtocolError, in bounded time and memory."""

    name: str
    capabilities: Capabilities

    def decode(self, topic: str, payload: bytes, content_type: str | None = None) -> UpFrame: ...

    def encode_command(self, station: str, frame: CommandFrame) -> Published: ...

    def encode_control(self, station: str, control: Control) -> Published: ...

    def decode_any(self, payload: bytes, topic: str | None = None) -> UpFrame | CommandFrame | Control:
        """A frame of either direction for people's tools; without its topic, by its shape (the station is then "")."""
        ...
