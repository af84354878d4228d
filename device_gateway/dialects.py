"""Which dialect reads a topic, and which one speaks to a station."""

from typing import Final

from firmware_protocol import topics
from firmware_protocol.dialect import Dialect
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.dialects.registry import DIALECTS, named
from firmware_protocol.errors import WrongChannel

__all__ = ["DIALECTS", "named", "of_topic", "subscriptions"]
_NATIVE_PREFIX: Final = f"{topics.PREFIX}/"


def of_topic(topic: str) -> Dialect:
    """Raises WrongChannel for a topic that no dialect uses."""
    if topic.startswith(_NATIVE_PREFIX):
        return NATIVE
    raise WrongChannel(f"topic {topic[:120]!r}: no dialect listens there")


def subscriptions(group: str) -> list[str]:
    """Shared topic filters of all dialects."""
    return [topics.shared_subscription(group)]
