"""What a cabinet says, whatever dialect it speaks.

Every dialect decodes to these structs and nothing above a dialect knows which one it was. Units are in the field names
(`_mv`, `_ma`, `_c`, `_dbm`, `_s`, `_pct`). A value that the cabinet does not know is None, never 0 or 255.
The class attribute `stream` says how a message is numbered and kept (docs/protocol.md, 5.3).
"""

import re
import string
from enum import StrEnum
from typing import Annotated, ClassVar, Final

from msgspec import Meta, Struct

from firmware_protocol.limits import (
    MAX_CONFIG_KEYS,
    MAX_JOURNAL_RANGES,
    MAX_LOG_CHUNK_BYTES,
    MAX_SLOTS,
)
from firmware_protocol.types import (
    SERIAL_PATTERN,
    Celsius,
    CommandId,
    CommandOutcome,
    ConfigValue,
    Counter,
    CounterOrZero,
    Cycles,
    Dbm,
    MilliAmps,
    MilliVolts,
    OfflineCause,
    Percent,
    ResetCause,
    Seconds,
    Serial,
    SerialOfMany,
    SlotFaultKind,
    SlotNumber,
    SlotState,
    StationFaultKind,
    Text,
)

_SERIAL: Final = re.compile(SERIAL_PATTERN)
_SERIAL_CHARACTERS: Final = (string.ascii_letters + string.digits + "._:-").encode()


class Stream(StrEnum):
    """How a message is numbered.

    SESSION: seq 0, identified by the session's epoch. EVENT: journaled, seq 1.. within a boot, kept until acknowledged.
    SAMPLE: seq 1.. within a boot, counted apart from events; may be lost.
    """

    SESSION = "session"
    EVENT = "event"
    SAMPLE = "sample"


def _in_order(first: int, last: int) -> None:
    if last < first:
        raise ValueError(f"`last` ({last}) must not be below `first` ({first})")


def _each_slot_once(slots: "tuple[SlotSample, ...] | tuple[SlotInventory, ...]") -> None:
    if len({entry.slot for entry in slots}) != len(slots):
        raise ValueError("`slots` must name each slot once")


def _serials_of_labels(slots: "tuple[SlotSample, ...]") -> None:
    joined = "".join([entry.serial for entry in slots if entry.serial is not None])
    if joined.isascii() and not joined.encode().translate(None, _SERIAL_CHARACTERS):
        return
    for index, entry in enumerate(slots):
        if entry.serial is not None and not _SERIAL.match(entry.serial):
            raise ValueError(f"`slots[{index}].serial` must match regex {SERIAL_PATTERN!r}, is {entry.serial!r}")


class JournalRange(Struct, frozen=True, kw_only=True):
    """Events `first`..`last` (both included) of `boot`."""

    boot: Counter
    first: Counter
    last: Counter

    def __post_init__(self) -> None:
        _in_order(self.first, self.last)


class Booted(Struct, frozen=True, kw_only=True, tag_field="type", tag="booted"):
    """First message of every connection; the cabinet then stays quiet until it is welcomed."""

    stream: ClassVar[Stream] = Stream.SESSION
    epoch: Annotated[Counter, Meta(description="raised at every connect; names this session")]
    firmware: Annotated[Text, Meta(description="firmware version")]
    hardware: Annotated[Text, Meta(description="hardware model and revision")]
    slots: Annotated[int, Meta(ge=1, le=MAX_SLOTS, description="slots that this cabinet has; numbered 1 to this")]
    reset_cause: ResetCause = ResetCause.UNKNOWN
    iccid: Annotated[Text, Meta(description="SIM card id")] | None = None
    config_version: Annotated[CounterOrZero, Meta(description="version of the last SetConfig accepted")] | None = None
    credential: Annotated[Text, Meta(description="`key_id` of the credential this session was opened with")] | None = (
        None
    )
    journal: Annotated[
        tuple[JournalRange, ...],
        Meta(max_length=MAX_JOURNAL_RANGES, description="events still held unacknowledged, oldest first"),
    ] = ()


class Online(Struct, frozen=True, kw_only=True, tag_field="type", tag="online"):
    """Retained presence, published by the cabinet right after connecting."""

    stream: ClassVar[Stream] = Stream.SESSION
    epoch: Annotated[Counter, Meta(description="the session that began")]


class Offline(Struct, frozen=True, kw_only=True, tag_field="type", tag="offline"):
    """The will. Says which session ended, so that an old will cannot end a newer session."""

    stream: ClassVar[Stream] = Stream.SESSION
    epoch: Annotated[Counter, Meta(description="the session that ended")]
    cause: OfflineCause = OfflineCause.UNKNOWN


class Heartbeat(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="heartbeat"):
    """The cabinet lives. Sent every `heartbeat_s` of the welcome."""

    stream: ClassVar[Stream] = Stream.SAMPLE
    signal_dbm: Annotated[Dbm, Meta(description="radio signal strength")] | None = None
    mains: Annotated[bool, Meta(description="true: fed by mains; false: by its own battery")] | None = None
    temperature_c: Annotated[Celsius, Meta(description="inside the cabinet")] | None = None
    uptime_s: Annotated[Seconds, Meta(description="since the firmware started")] | None = None


class SlotSample(Struct, frozen=True, kw_only=True, gc=False):
    """What one slot's bank measures now."""

    slot: SlotNumber
    serial: SerialOfMany | None = None
    charge_pct: Annotated[Percent, Meta(description="state of charge")] | None = None
    voltage_mv: Annotated[MilliVolts, Meta(description="cell voltage")] | None = None
    current_ma: Annotated[MilliAmps, Meta(description="into the bank; negative when it discharges")] | None = None
    temperature_c: Annotated[Celsius, Meta(description="of the bank")] | None = None
    cycles: Annotated[Cycles, Meta(description="full charge cycles so far")] | None = None
    health_pct: Annotated[Percent, Meta(description="full capacity now against when new")] | None = None


class SlotTelemetry(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag="slot_telemetry"):
    """Measurements of the slots that hold a bank. Sent every `telemetry_s` of the welcome, unless no slot holds one."""

    stream: ClassVar[Stream] = Stream.SAMPLE
    slots: Annotated[
        tuple[SlotSample, ...], Meta(min_length=1, max_length=MAX_SLOTS, description="each slot at most once")
    ]

    def __post_init__(self) -> None:
        _each_slot_once(self.slots)
        _serials_of_labels(self.slots)


class SlotInventory(Struct, frozen=True, kw_only=True):
    """What one slot holds now."""

    slot: SlotNumber
    state: SlotState
    serial: Serial | None = None
    locked: Annotated[bool, Meta(description="true: taken out of use by lock_slot or a key")] | None = None
    charge_pct: Annotated[Percent, Meta(description="state of charge")] | None = None
    ready: (
        Annotated[
            bool,
            Meta(description="only where `charge_pct` cannot be told: whether it is charged enough to be given"),
        ]
        | None
    ) = None


class Inventory(Struct, frozen=True, kw_only=True, tag_field="type", tag="inventory"):
    """What every slot holds now. `complete` False: absence of a slot proves nothing."""

    stream: ClassVar[Stream] = Stream.EVENT
    slots: Annotated[tuple[SlotInventory, ...], Meta(max_length=MAX_SLOTS, description="each slot at most once")]
    complete: Annotated[bool, Meta(description="true: every slot of the cabinet is listed")] = True
    command_id: Annotated[CommandId, Meta(description="the query_inventory answered")] | None = None

    def __post_init__(self) -> None:
        _each_slot_once(self.slots)


class PowerBankInserted(Struct, frozen=True, kw_only=True, tag_field="type", tag="power_bank_inserted"):
    """A bank was put into a slot. `serial` None: something was inserted whose serial cannot be read."""

    stream: ClassVar[Stream] = Stream.EVENT
    slot: SlotNumber
    serial: Serial | None = None
    charge_pct: Annotated[Percent, Meta(description="state of charge")] | None = None


class PowerBankEjected(Struct, frozen=True, kw_only=True, tag_field="type", tag="power_bank_ejected"):
    """A bank left its slot. `command_id` None: nobody ordered it."""

    stream: ClassVar[Stream] = Stream.EVENT
    slot: SlotNumber
    serial: Serial | None = None
    charge_pct: Annotated[Percent, Meta(description="state of charge")] | None = None
    command_id: Annotated[CommandId, Meta(description="the eject command that moved it")] | None = None


class SlotLocked(Struct, frozen=True, kw_only=True, tag_field="type", tag="slot_locked"):
    """A slot was taken out of use."""

    stream: ClassVar[Stream] = Stream.EVENT
    slot: SlotNumber


class SlotUnlocked(Struct, frozen=True, kw_only=True, tag_field="type", tag="slot_unlocked"):
    """A slot was taken into use again."""

    stream: ClassVar[Stream] = Stream.EVENT
    slot: SlotNumber


class SlotFault(Struct, frozen=True, kw_only=True, tag_field="type", tag="slot_fault"):
    """Something is wrong with one slot. `cleared` True: the fault named is over."""

    stream: ClassVar[Stream] = Stream.EVENT
    slot: SlotNumber
    kind: SlotFaultKind
    cleared: bool = False
    detail: Annotated[Text, Meta(description="for people; never parsed")] | None = None


class StationFault(Struct, frozen=True, kw_only=True, tag_field="type", tag="station_fault"):
    """Something is wrong with the cabinet. `cleared` True: the fault named is over."""

    stream: ClassVar[Stream] = Stream.EVENT
    kind: StationFaultKind
    cleared: bool = False
    detail: Annotated[Text, Meta(description="for people; never parsed")] | None = None


class CommandResult(Struct, frozen=True, kw_only=True, tag_field="type", tag="command_result"):
    """The end of one command. `slot` and `serial` name the bank that really moved, for an eject."""

    stream: ClassVar[Stream] = Stream.EVENT
    command_id: CommandId
    outcome: CommandOutcome
    slot: SlotNumber | None = None
    serial: Serial | None = None
    code: Annotated[Text, Meta(description="failure code, see the table of codes")] | None = None


class FirmwareProgress(Struct, frozen=True, kw_only=True, tag_field="type", tag="firmware_progress"):
    """How far an update is."""

    stream: ClassVar[Stream] = Stream.EVENT
    version: Annotated[Text, Meta(description="the version being installed")]
    phase: Annotated[Text, Meta(description="downloading, verifying, installing, done or failed")]
    progress_pct: Annotated[Percent, Meta(description="of this phase")] | None = None
    detail: Annotated[Text, Meta(description="for people; never parsed")] | None = None


class LogChunk(Struct, frozen=True, kw_only=True, tag_field="type", tag="log_chunk"):
    """One piece of the log that collect_logs asked for."""

    stream: ClassVar[Stream] = Stream.EVENT
    request_id: Annotated[Text, Meta(description="from collect_logs")]
    index: Annotated[CounterOrZero, Meta(description="0 for the first piece")]
    last: Annotated[bool, Meta(description="true: no piece follows")]
    content: Annotated[bytes, Meta(max_length=MAX_LOG_CHUNK_BYTES, description="raw log bytes")]


class ConfigReport(Struct, frozen=True, kw_only=True, tag_field="type", tag="config_report"):
    """The configuration in force, after set_config, or as get_config asked."""

    stream: ClassVar[Stream] = Stream.EVENT
    version: Annotated[CounterOrZero, Meta(description="of the last set_config accepted; 0 when there was none")]
    values: Annotated[dict[str, ConfigValue], Meta(max_length=MAX_CONFIG_KEYS)]


class JournalLost(Struct, frozen=True, kw_only=True, tag_field="type", tag="journal_lost"):
    """The cabinet cannot send these events any more (journal overflow, worn flash); nobody should wait for them."""

    stream: ClassVar[Stream] = Stream.SESSION
    boot: Annotated[Counter, Meta(description="the boot whose events are lost; may be an earlier one")]
    first: Annotated[Counter, Meta(description="first seq lost")]
    last: Annotated[Counter, Meta(description="last seq lost, included")]

    def __post_init__(self) -> None:
        _in_order(self.first, self.last)


SessionMessage = Booted | Online | Offline | JournalLost
SampleMessage = Heartbeat | SlotTelemetry
EventMessage = (
    Inventory
    | PowerBankInserted
    | PowerBankEjected
    | SlotLocked
    | SlotUnlocked
    | SlotFault
    | StationFault
    | CommandResult
    | FirmwareProgress
    | LogChunk
    | ConfigReport
)
UpMessage = SessionMessage | SampleMessage | EventMessage


class CommandUncertain(Struct, frozen=True, kw_only=True, tag_field="type", tag="command_uncertain"):
    """Never on a wire: a cabinet answered a command, and only a look into its slots can tell what the answer means.

    Vendors' failure codes are of this kind, the plain ones too: an earlier copy of the same order may have moved the
    bank (volinks.md 5.3). An inventory asked for less than `look_after_s` after the answer proves nothing.
    """

    stream: ClassVar[Stream] = Stream.EVENT
    command_id: CommandId
    code: Annotated[Text, Meta(description="what the cabinet said, in our words")]
    look_after_s: float


class CheckNeeded(Struct, frozen=True, kw_only=True, tag_field="type", tag="check_needed"):
    """Never on a wire: what a cabinet said proves nothing, and is reason enough to ask what is in its slots."""

    stream: ClassVar[Stream] = Stream.EVENT
    why: Text
    look_after_s: float = 0


class FrameNoted(Struct, frozen=True, kw_only=True, tag_field="type", tag="frame_noted"):
    """Never on a wire: a vendor's frame that changes nothing here. It is counted, and kept with its bytes."""

    stream: ClassVar[Stream] = Stream.EVENT
    what: Text
    details: tuple[str, ...] = ()


#: What frames of vendors amount to beside messages.
Deduced = CommandUncertain | CheckNeeded | FrameNoted


class UpFrame(Struct, frozen=True, kw_only=True, gc=False):
    """One decoded message with its envelope. `at_ms` is the cabinet's own clock; None when it has none."""

    station: str
    boot: int
    seq: int
    at_ms: int | None
    message: UpMessage
    replayed: bool = False


class DeducedFrame(Struct, frozen=True, kw_only=True):
    """A deduced fact with the place that the gateway gave it among the events of its station."""

    station: str
    boot: int
    seq: int
    at_ms: None = None
    message: Deduced
    replayed: bool = False
