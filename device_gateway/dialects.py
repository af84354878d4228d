"""Which dialect reads a topic, and which one speaks to a station."""

from typing import Final

from firmware_protocol import topics
from firmware_protocol.dialect import Dialect
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.errors import UnknownDialect, WrongChannel

DIALECTS: Final[dict[str, Dialect]] = {NATIVE.name: NATIVE}
_NATIVE_PREFIX: Final = f"{topics.PREFIX}/"


def of_topic(topic: str) -> Dialect:
    """Raises WrongChannel for a topic that no dialect uses."""
    if topic.startswith(_NATIVE_PREFIX):
        return NATIVE
    raise WrongChannel(f"topic {topic[:120]!r}: no dialect listens there")


def named(name: str) -> Dialect:
    """Raises UnknownDialect."""
    try:
        return DIALECTS[name]
    except KeyError:
        raise UnknownDialect(f"dialect {name!r}: this build has {', '.join(DIALECTS)}") from None


def subscriptions(group: str) -> list[str]:
    """Shared topic filters of all dialects."""
    return [topics.shared_subscription(group)]
