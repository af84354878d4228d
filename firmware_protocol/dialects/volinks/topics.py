"""Topics of Volinks cabinets: `/{product}/{uuid}/user/…`, with the IMEI or the WiFi address as `uuid`."""

import re
from enum import StrEnum
from typing import Final, NamedTuple

from firmware_protocol.errors import WrongChannel

#: The first level unless the connect reply says another product key.
DEFAULT_PRODUCT: Final = "powerbank"
_TOPIC: Final = re.compile(r"/([0-9A-Za-z_-]{1,64})/([0-9A-Za-z:_-]{1,64})/user/(get|update|heart)")


class Kind(StrEnum):
    #: Backend to cabinet, JSON.
    GET = "get"
    #: Cabinet to backend, binary frames.
    UPDATE = "update"
    #: Heartbeats. The cabinet subscribes here too and restarts when it does not hear itself twice in a row.
    HEART = "heart"


class Topic(NamedTuple):
    product: str
    uuid: str
    kind: Kind


def topic(uuid: str, kind: Kind, product: str = DEFAULT_PRODUCT) -> str:
    return f"/{product}/{uuid}/user/{kind}"


def parse(text: str) -> Topic:
    """The parts of a topic; WrongChannel for any other."""
    match = _TOPIC.fullmatch(text)
    if match is None:
        raise WrongChannel(f"topic {text[:120]!r}: expected /{{product}}/{{uuid}}/user/get, update or heart")
    return Topic(match[1], match[2], Kind(match[3]))
