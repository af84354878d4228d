from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from device_gateway.applying import Applier, Ready, offset_for
from device_gateway.business import FactHandler
from device_gateway.directory import Directory, StationRef
from device_gateway.intake import Arrived
from device_gateway.outbound import Outbound
from device_gateway.tally import Tally
from fleet.devices import inbox
from fleet.devices.cursor import Cursor


@dataclass(slots=True)
class Work:
    """One transaction's worth of events, while it is put together."""

    session: Session
    directory: Directory
    handle: FactHandler
    now: datetime
    tally: Tally = field(default_factory=Tally)
    outbound: Outbound = field(default_factory=Outbound)
    now_text: str = ""
    applier: Applier = field(init=False)
    #: New inbox rows, as lines for COPY.
    rows: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now_text = self.now.isoformat()
        self.applier = Applier(self.session, self.handle, self.tally, self.now)

    def station(self, each: Arrived) -> StationRef:
        ref = self.directory.get(each.frame.station)
        assert ref is not None  # unknown stations were rejected before
        return ref

    def store(self, station_id: int, tag: str, each: Arrived, *, applied: bool) -> None:
        frame, received = each
        self.rows.append(
            inbox.line(
                station_id,
                frame.boot,
                frame.seq,
                tag,
                frame.at_ms,
                received.received_at.isoformat(),
                frame.replayed,
                received.payload,
                self.now_text if applied else "\\N",
            )
        )

    def apply(self, ref: StationRef, each: Arrived, cursor: Cursor, siblings: list[Cursor]) -> None:
        """Hand one event whose turn it is to the business."""
        frame, received = each
        offset = offset_for(cursor, siblings)
        self.applier.add(Ready(ref, frame, received.topic, received.payload, received.received_at, offset))
