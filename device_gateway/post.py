"""Where messages to cabinets leave: the broker, or the connection that this gateway holds."""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from device_gateway.received import Received
from device_gateway.relink_listener import RelinkListener
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.relink.translate import PREFIX


class Outlet(Protocol):
    """What lanes and the dispatcher need of it."""

    @property
    def connected_since(self) -> datetime | None: ...

    def publish(self, message: Published, expiry_s: int | None = None) -> None: ...

    def acknowledge(self, batch: Iterable[Received]) -> None: ...


class Post:
    """The broker's link, and beside it a listener for cabinets that come over TCP."""

    def __init__(self, link: Outlet, relink: RelinkListener) -> None:
        self._link = link
        self._relink = relink

    @property
    def connected_since(self) -> datetime | None:
        return self._link.connected_since

    def publish(self, message: Published, expiry_s: int | None = None) -> None:
        if message.topic.startswith(f"{PREFIX}/"):
            self._relink.publish(message)
        else:
            self._link.publish(message, expiry_s)

    def acknowledge(self, batch: Iterable[Received]) -> None:
        self._link.acknowledge(batch)
