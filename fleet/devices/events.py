"""Facts of this area that others hear of through the outbox. Names carry their version."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from fleet.common.outbox import DomainEvent


@dataclass(frozen=True)
class InventoryStale(DomainEvent):
    """A station that is online has been asked what is in its slots, again and again, and does not say."""

    name: ClassVar[str] = "devices.InventoryStale.v1"
    station_id: int
    #: The last complete inventory; None: there was never one.
    since: datetime | None


@dataclass(frozen=True)
class InventoryFresh(DomainEvent):
    """A station whose inventory was stale has told what is in its slots."""

    name: ClassVar[str] = "devices.InventoryFresh.v1"
    station_id: int


@dataclass(frozen=True)
class StationInventoryRefused(DomainEvent):
    """A cabinet's inventory cannot be read beyond doubt, or has other holes than it was commissioned with.

    What is known of its slots is stale from now on. Told once, until a complete inventory is taken again.
    """

    name: ClassVar[str] = "devices.InventoryRefused.v1"
    station_id: int
    station_code: str
    code: str
    at: datetime


@dataclass(frozen=True)
class ConnectDoubted(DomainEvent):
    """Somebody called `connect` for a cabinet that is connected (`doubt`: connected), or from another network than its
    last call (network): its own restart, or a stranger who knows its IMEI.
    """

    name: ClassVar[str] = "devices.ConnectDoubted.v1"
    station_id: int
    station_code: str
    source: str
    doubt: str
    at: datetime


@dataclass(frozen=True)
class StationOffline(DomainEvent):
    """A station went away. `cause`: power, network, shutdown, broker, site, backend, silent."""

    name: ClassVar[str] = "devices.StationOffline.v1"
    station_id: int
    cause: str
    #: When it was last known to be there.
    since: datetime


@dataclass(frozen=True)
class StationOnline(DomainEvent):
    """A station is there. `cause`: booted, heard."""

    name: ClassVar[str] = "devices.StationOnline.v1"
    station_id: int
    cause: str
    since: datetime
    #: Since when it had been away; None: it was never there before.
    offline_since: datetime | None
