"""Topics of the native dialect: `vb/v1/{station}/up/{kind}` and `vb/v1/{station}/down/{kind}`."""

import re
from enum import StrEnum
from typing import Final, NamedTuple

from firmware_protocol.errors import WrongChannel
from firmware_protocol.limits import MAX_STATION_CODE_CHARS

PREFIX: Final = "vb/v1"
_STATION: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_STATION_CODE_CHARS}}}")


class UpKind(StrEnum):
    BOOT = "boot"
    EVENT = "event"
    TELEMETRY = "telemetry"
    #: Retained; also the will.
    STATE = "state"


class DownKind(StrEnum):
    WELCOME = "welcome"
    ACK = "ack"
    RESEND = "resend"
    COMMAND = "command"


class UpTopic(NamedTuple):
    station: str
    kind: UpKind


ALL_UP: Final = f"{PREFIX}/+/up/+"


def shared_subscription(group: str) -> str:
    """The filter several gateways share (MQTT 5, 4.8.2): each message reaches one of them."""
    return f"$share/{group}/{ALL_UP}"


def up(station: str, kind: UpKind) -> str:
    return f"{PREFIX}/{station}/up/{kind}"


def down(station: str, kind: DownKind) -> str:
    return f"{PREFIX}/{station}/down/{kind}"


def all_down(station: str) -> str:
    return f"{PREFIX}/{station}/down/+"


def parse_up(topic: str) -> UpTopic:
    """Split an uplink topic; raises WrongChannel for anything else."""
    parts = topic.split("/")
    if len(parts) != 5 or parts[0] != "vb" or parts[1] != "v1" or parts[3] != "up":
        raise WrongChannel(f"topic {topic[:120]!r} is not {PREFIX}/{{station}}/up/{{kind}}")
    if not _STATION.fullmatch(parts[2]):
        raise WrongChannel(f"topic {topic[:120]!r} has no valid station code")
    try:
        return UpTopic(parts[2], UpKind(parts[4]))
    except ValueError:
        raise WrongChannel(f"topic {topic[:120]!r}: kind is none of {', '.join(UpKind)}") from None
