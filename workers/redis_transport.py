"""Kombu's Redis transport, mended where it ends a whole worker because Redis went away for a moment (kombu 5.7)."""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import Transport as RedisTransport
from redis.exceptions import ConnectionError as RedisConnectionError


class Channel(RedisChannel):
    """A channel whose connection was closed says so with the error that Celery expects of a lost broker.

    Celery acknowledges a task when its work is done, which may be after the connection it came by is gone. Kombu then
    stumbles over `None` (AttributeError), which nobody expects, and the worker ends. What was not acknowledged comes
    back after the visibility timeout, or from the relay.
    """

    #: Handing back what is not acknowledged as the connection closes needs the very Redis that went away.
    do_restore = False

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("this channel's connection was closed")
        found: dict[str, Any] = super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]
        return found


class Transport(RedisTransport):
    Channel = Channel


def install() -> None:
    """`redis://` and `rediss://` mean this transport from here on, in this process."""
    path = f"{__name__}:{Transport.__name__}"
    TRANSPORT_ALIASES.update({"redis": path, "rediss": path})
