"""What a cabinet says, whatever dialect it speaks.

Every dialect decodes to these structs and nothing above a dialect knows which one it was. Units are in the field names
(`_mv`, `_ma`, `_c`, `_dbm`, `_s`, `_pct`). A value that the cabinet does not know is None, never 0 or 255.
The class attribute `stream` says how a message is numbered and kept (docs/protocol.md, "Three streams").
"""

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from firmware_protocol.limits import (
    MAX_CONFIG_KEYS,
    MAX_JOURNAL_RANGES,
    MAX_LOG_CHUNK_BYTES,
    MAX_SLOTS,
)
from firmware_protocol.types import (
    Celsius,
    CommandOutcome,
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
    SlotFaultKind,
    SlotNumber,
    SlotState,
    StationFaultKind,
    Text,
)


class Stream(StrEnum):
    """How a message is numbered.

    SESSION: seq 0, identified by the session's epoch. EVENT: journaled, seq 1.. within a boot, kept until acknowledged.
    SAMPLE: seq 1.. within a boot, counted apart from events; may be lost.
    """

    SESSION = "session"
    EVENT = "event"
    SAMPLE = "sample"


class JournalRange(Struct, frozen=True, kw_only=True):
    """Events `first`..`last` (both included) of `boot` that the cabinet still holds unacknowledged."""

    boot: Counter
    first: Counter
    last: Counter


class Booted(Struct, frozen=True, kw_only=True, tag_field="type", tag="booted"):
    """First message of every connection; the cabinet then stays quiet until it is welcomed."""

    stream: ClassVar[Stream] = Stream.SESSION
    epoch: Counter
    firmware: Text
    hardware: Text
    slots: Annotated[int, Meta(ge=1, le=MAX_SLOTS)]
    reset_cause: ResetCause = ResetCause.UNKNOWN
    iccid: Text | None = None
    config_version: CounterOrZero | None = None
    journal: Annotated[tuple[JournalRange, ...], Meta(max_length=MAX_JOURNAL_RANGES)] = ()


class Online(Struct, frozen=True, kw_only=True, tag_field="type", tag="online"):
    """Retained presence, published by the cabinet right after connecting."""

    stream: ClassVar[Stream] = Stream.SESSION
    epoch: Counter


class Offline(Struct, frozen=True, kw_only=True, tag_field="type", tag="offline"):
    """The will. Says which session ended, so that an old will cannot end a newer session."""

    stream: ClassVar[Stream] = Stream.SESSION
    epoch: Counter
    cause: OfflineCause = OfflineCause.UNKNOWN


class Heartbeat(Struct, frozen=True, kw_only=True, tag_field="type", tag="heartbeat"):
    stream: ClassVar[Stream] = Stream.SAMPLE
    signal_dbm: Dbm | None = None
    mains: bool | None = None
    temperature_c: Celsius | None = None
    uptime_s: Seconds | None = None


class SlotSample(Struct, frozen=True, kw_only=True):
    slot: SlotNumber
    serial: Serial | None = None
    charge_pct: Percent | None = None
    voltage_mv: MilliVolts | None = None
    current_ma: MilliAmps | None = None
    temperature_c: Celsius | None = None
    cycles: Cycles | None = None
    health_pct: Percent | None = None


class SlotTelemetry(Struct, frozen=True, kw_only=True, tag_field="type", tag="slot_telemetry"):
    stream: ClassVar[Stream] = Stream.SAMPLE
    slots: Annotated[tuple[SlotSample, ...], Meta(min_length=1, max_length=MAX_SLOTS)]


class SlotInventory(Struct, frozen=True, kw_only=True):
    slot: SlotNumber
    state: SlotState
    serial: Serial | None = None
    locked: bool | None = None
    charge_pct: Percent | None = None


class Inventory(Struct, frozen=True, kw_only=True, tag_field="type", tag="inventory"):
    """What every slot holds now. `complete` False: absence of a slot proves nothing."""

    stream: ClassVar[Stream] = Stream.EVENT
    slots: Annotated[tuple[SlotInventory, ...], Meta(max_length=MAX_SLOTS)]
    complete: bool = True
    command_id: Text | None = None


class PowerBankInserted(Struct, frozen=True, kw_only=True, tag_field="type", tag="power_bank_inserted"):
    """`serial` None: something was inserted whose serial cannot be read."""

    stream: ClassVar[Stream] = Stream.EVENT
    slot: SlotNumber
    serial: Serial | None = None
    charge_pct: Percent | None = None


class PowerBankEjected(Struct, frozen=True, kw_only=True, tag_field="type", tag="power_bank_ejected"):
    """A bank left its slot. `command_id` None: nobody ordered it."""

    stream: ClassVar[Stream] = Stream.EVENT
    slot: SlotNumber
    serial: Serial | None = None
    charge_pct: Percent | None = None
    command_id: Text | None = None


class SlotLocked(Struct, frozen=True, kw_only=True, tag_field="type", tag="slot_locked"):
    stream: ClassVar[Stream] = Stream.EVENT
    slot: SlotNumber


class SlotUnlocked(Struct, frozen=True, kw_only=True, tag_field="type", tag="slot_unlocked"):
    stream: ClassVar[Stream] = Stream.EVENT
    slot: SlotNumber


class SlotFault(Struct, frozen=True, kw_only=True, tag_field="type", tag="slot_fault"):
    """`cleared` True: the fault named is over."""

    stream: ClassVar[Stream] = Stream.EVENT
    slot: SlotNumber
    kind: SlotFaultKind
    cleared: bool = False
    detail: Text | None = None


class StationFault(Struct, frozen=True, kw_only=True, tag_field="type", tag="station_fault"):
    stream: ClassVar[Stream] = Stream.EVENT
    kind: StationFaultKind
    cleared: bool = False
    detail: Text | None = None


class CommandResult(Struct, frozen=True, kw_only=True, tag_field="type", tag="command_result"):
    """The end of one command. `slot` and `serial` name the bank that really moved, for an eject."""

    stream: ClassVar[Stream] = Stream.EVENT
    command_id: Text
    outcome: CommandOutcome
    slot: SlotNumber | None = None
    serial: Serial | None = None
    code: Text | None = None


class FirmwareProgress(Struct, frozen=True, kw_only=True, tag_field="type", tag="firmware_progress"):
    stream: ClassVar[Stream] = Stream.EVENT
    version: Text
    phase: Text
    progress_pct: Percent | None = None
    detail: Text | None = None


class LogChunk(Struct, frozen=True, kw_only=True, tag_field="type", tag="log_chunk"):
    stream: ClassVar[Stream] = Stream.EVENT
    request_id: Text
    index: CounterOrZero
    last: bool
    content: Annotated[bytes, Meta(max_length=MAX_LOG_CHUNK_BYTES)]


class ConfigReport(Struct, frozen=True, kw_only=True, tag_field="type", tag="config_report"):
    stream: ClassVar[Stream] = Stream.EVENT
    version: CounterOrZero
    values: Annotated[dict[str, str | int | float | bool | None], Meta(max_length=MAX_CONFIG_KEYS)]


class JournalLost(Struct, frozen=True, kw_only=True, tag_field="type", tag="journal_lost"):
    """The cabinet cannot send these events any more (journal overflow, worn flash); nobody should wait for them."""

    stream: ClassVar[Stream] = Stream.SESSION
    boot: Counter
    first: Counter
    last: Counter


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


class UpFrame(Struct, frozen=True, kw_only=True):
    """One decoded message with its envelope. `at_ms` is the cabinet's own clock; None when it has none."""

    station: str
    boot: int
    seq: int
    at_ms: int | None
    message: UpMessage
    replayed: bool = False
