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
