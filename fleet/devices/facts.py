"""What a cabinet told, ready for the business: no bytes, no dialect, times already on the backend's clock."""

from dataclasses import dataclass
from datetime import datetime

from firmware_protocol.messages import Deduced, EventMessage


@dataclass(frozen=True, slots=True)
class DeviceFact:
    """One journaled event.

    `occurred_at` is the cabinet's clock corrected by what is known of it, never later than `received_at`.
    """

    station_id: int
    station_code: str
    boot: int
    seq: int
    occurred_at: datetime
    received_at: datetime
    replayed: bool
    message: EventMessage | Deduced
    #: False: the cabinet does not number its events, so that they are in the order of their arrival, and an inventory
    #: may be older than what arrived before it.
    numbered: bool = True

    @property
    def ref(self) -> str:
        """Names the event in evidence and logs: `station:boot:seq`."""
        return f"{self.station_code}:{self.boot}:{self.seq}"
