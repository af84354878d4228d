"""The words and number ranges that messages are made of."""

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from firmware_protocol.limits import (
    MAX_CLOCK_MS,
    MAX_COMMAND_ID_CHARS,
    MAX_COUNTER,
    MAX_SERIAL_CHARS,
    MAX_SLOTS,
    MAX_STATION_CODE_CHARS,
    MAX_TEXT_CHARS,
)

#: `$` alone would let a trailing newline through (Python), `\Z` is unknown to JSON Schema: this holds in both.
_END: Final = r"$(?!\n)"
_INT64: Final = 2**63
#: Finite: NaN and the infinities compare as outside.
_LARGEST_FLOAT: Final = 1.7976931348623157e308

SlotNumber = Annotated[int, Meta(ge=1, le=MAX_SLOTS, description="slot number as printed on the cabinet, from 1")]
SERIAL_PATTERN: Final = rf"^[A-Za-z0-9._:-]+{_END}"
_SERIAL_MEANING: Final = "power bank serial as its label shows it"
Serial = Annotated[
    str, Meta(min_length=1, max_length=MAX_SERIAL_CHARS, pattern=SERIAL_PATTERN, description=_SERIAL_MEANING)
]
#: The same for messages that name dozens, which hold all of them against the pattern at once:
#: a regular expression a serial is half the cost of reading a telemetry frame.
SerialOfMany = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_SERIAL_CHARS,
        description=_SERIAL_MEANING,
        extra_json_schema={"pattern": SERIAL_PATTERN},
    ),
]
#: A station's code as its QR label shows it; also a level of its MQTT topics.
StationCode = Annotated[str, Meta(min_length=1, max_length=MAX_STATION_CODE_CHARS, pattern=rf"^[A-Za-z0-9._-]+{_END}")]
#: Rising counter from 1.
Counter = Annotated[int, Meta(ge=1, le=MAX_COUNTER)]
#: Rising counter where 0 means "none" or "outside the journal".
CounterOrZero = Annotated[int, Meta(ge=0, le=MAX_COUNTER)]
ClockMs = Annotated[int, Meta(ge=0, le=MAX_CLOCK_MS, description="milliseconds since 1970-01-01T00:00:00Z")]
Percent = Annotated[int, Meta(ge=0, le=100)]
MilliVolts = Annotated[int, Meta(ge=0, le=60_000)]
MilliAmps = Annotated[int, Meta(ge=-20_000, le=20_000)]
Celsius = Annotated[float, Meta(ge=-60, le=200)]
Cycles = Annotated[int, Meta(ge=0, le=1_000_000)]
Dbm = Annotated[int, Meta(ge=-150, le=0)]
Seconds = Annotated[int, Meta(ge=0, le=10 * 365 * 86_400)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS)]
#: A command's id: a UUID from this backend, opaque to the cabinet, which repeats it.
CommandId = Annotated[
    str, Meta(min_length=1, max_length=MAX_COMMAND_ID_CHARS, description="id of a command, repeated as it came")
]
#: A configuration value. Integers fit 64 bits and floats are finite, so that both encodings and the database hold them.
ConfigValue = (
    str
    | Annotated[int, Meta(ge=-_INT64, le=_INT64 - 1)]
    | Annotated[float, Meta(ge=-_LARGEST_FLOAT, le=_LARGEST_FLOAT)]
    | bool
    | None
)


class SlotState(StrEnum):
    """What a cabinet sees in one slot."""

    EMPTY = "empty"
    OCCUPIED = "occupied"
    #: Something is inside, but the cabinet cannot read or release it.
    FAULT = "fault"
    UNKNOWN = "unknown"


class ResetCause(StrEnum):
    POWER_ON = "power_on"
    SOFTWARE = "software"
    WATCHDOG = "watchdog"
    BROWNOUT = "brownout"
    UPDATE = "update"
    #: The firmware kept running; only the connection is new.
    RECONNECT = "reconnect"
    UNKNOWN = "unknown"


class SlotFaultKind(StrEnum):
    JAM = "jam"
    CHARGE = "charge"
    COMMUNICATION = "communication"
    SHORT = "short"
    SENSOR = "sensor"
    ANTI_THEFT = "anti_theft"


class StationFaultKind(StrEnum):
    TAMPER = "tamper"
    OVER_TEMPERATURE = "over_temperature"
    SMOKE = "smoke"
    POWER_LOST = "power_lost"


class CommandOutcome(StrEnum):
    """How a command ended, in the cabinet's own words. Silence is not an outcome: it is UNKNOWN to the backend."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    #: The deadline had passed when the command arrived; nothing moved.
    EXPIRED = "expired"
    UNSUPPORTED = "unsupported"
    #: Another eject is in flight; nothing moved.
    BUSY = "busy"
    #: The command's arguments make no sense for this cabinet; nothing moved.
    INVALID = "invalid"


class OfflineCause(StrEnum):
    POWER = "power"
    NETWORK = "network"
    BROKER = "broker"
    SHUTDOWN = "shutdown"
    UNKNOWN = "unknown"
