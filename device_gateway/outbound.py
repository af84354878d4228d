"""What is to be said to cabinets once the transaction that decided it is committed."""

from dataclasses import dataclass, field

from device_gateway import dialects
from device_gateway.directory import StationRef
from firmware_protocol.commands import Control
from firmware_protocol.dialect import Published


@dataclass(slots=True)
class Outbound:
    messages: list[Published] = field(default_factory=list)
    #: (station code, boot) → acked_through: sent together, and only the newest of each.
    acks: dict[tuple[str, int], int] = field(default_factory=dict)

    def control(self, station: StationRef, control: Control) -> None:
        """Nothing for a vendor's cabinet, which knows no such message."""
        dialect = dialects.DIALECTS.get(station.dialect)
        if dialect is not None:
            self.messages.append(dialect.encode_control(station.code, control))
