"""Topics of the native dialect: `vb/v1/{station}/up/{kind}` and `vb/v1/{station}/down/{kind}`."""

import re
from enum import StrEnum
from functools import lru_cache
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


class DownTopic(NamedTuple):
    station: str
    kind: DownKind


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


def _station_and_kind(topic: str, direction: str) -> tuple[str, str]:
    parts = topic.split("/")
    if len(parts) != 5 or parts[0] != "vb" or parts[1] != "v1" or parts[3] != direction:
        raise WrongChannel(f"topic {topic[:120]!r}: expected {PREFIX}/{{station}}/{direction}/{{kind}}")
    if not _STATION.fullmatch(parts[2]):
        raise WrongChannel(f"topic {topic[:120]!r}: {parts[2][:80]!r} is no station code ({_STATION.pattern})")
    return parts[2], parts[4]


# A fleet speaks on four topics per station, again and again: one lookup instead of a parse.
@lru_cache(maxsize=65_536)
def parse_up(topic: str) -> UpTopic:
    """Split an uplink topic; raises WrongChannel for anything else."""
    station, kind = _station_and_kind(topic, "up")
    try:
        return UpTopic(station, UpKind(kind))
    except ValueError:
        expected = ", ".join(UpKind)
        raise WrongChannel(f"topic {topic[:120]!r}: expected one of {expected}, got {kind[:40]!r}") from None


def parse_down(topic: str) -> DownTopic:
    """Split a downlink topic; raises WrongChannel for anything else."""
    station, kind = _station_and_kind(topic, "down")
    try:
        return DownTopic(station, DownKind(kind))
    except ValueError:
        expected = ", ".join(DownKind)
        raise WrongChannel(f"topic {topic[:120]!r}: expected one of {expected}, got {kind[:40]!r}") from None
