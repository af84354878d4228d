"""Which dialect reads a topic, and which one speaks to a station."""

from typing import Final

from firmware_protocol import topics
from firmware_protocol.dialect import Dialect
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.dialects.registry import CAPABILITIES, DIALECTS, VENDORS, named, vendor
from firmware_protocol.dialects.relink.translate import PREFIX as RELINK_TOPICS
from firmware_protocol.dialects.relink.translate import RELINK
from firmware_protocol.dialects.volinks.topics import DEFAULT_PRODUCT, Kind, topic
from firmware_protocol.dialects.volinks.translate import VOLINKS
from firmware_protocol.errors import WrongChannel
from firmware_protocol.vendor import VendorDialect

__all__ = [
    "CAPABILITIES",
    "DIALECTS",
    "VENDORS",
    "named",
    "numbers",
    "of_topic",
    "subscriptions",
    "vendor",
    "vendor_of",
]
_RELINK_PREFIX: Final = f"{RELINK_TOPICS}/"
NATIVE_PREFIX: Final = f"{topics.PREFIX}/"
_VENDOR_UP: Final = [topic("+", kind, DEFAULT_PRODUCT) for kind in (Kind.UPDATE, Kind.HEART)]


def of_topic(topic: str) -> Dialect:
    """Raises WrongChannel for a topic that no dialect uses."""
    if topic.startswith(NATIVE_PREFIX):
        return NATIVE
    raise WrongChannel(f"topic {topic[:120]!r}: no dialect listens there")


def vendor_of(topic: str) -> VendorDialect | None:
    """The vendor's dialect that is spoken on a topic which is not native; None for nobody's."""
    if topic.startswith("/"):
        return VOLINKS
    return RELINK if topic.startswith(_RELINK_PREFIX) else None


def numbers(name: str) -> bool:
    """Whether cabinets of this dialect number their events."""
    found = CAPABILITIES.get(name)
    return found is None or found.sequence_numbers


def subscriptions(group: str) -> list[str]:
    """Shared topic filters of all dialects: each message reaches one gateway."""
    return [topics.shared_subscription(group), *(f"$share/{group}/{each}" for each in _VENDOR_UP)]
