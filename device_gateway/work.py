from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from device_gateway.applying import Applier
from device_gateway.business import FactHandler, slot_beyond
from device_gateway.directory import Directory
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
    #: New inbox rows.
    rows: list[inbox.Row] = field(default_factory=list)
    #: Each event is applied under a savepoint, so that it alone is refused that is at fault. False: whatever fails
    #: fails all of it, and the caller begins anew with savepoints.
    guarded: bool = True

    def __post_init__(self) -> None:
        self.now_text = self.now.isoformat()
        self.applier = Applier(self.session, self.handle, self.tally, self.now, guarded=self.guarded)

    def store(self, tag: str, each: Arrived, *, applied: bool) -> None:
        """Add a row to the inbox."""
        frame, received, station = each
        self.rows.append(
            inbox.Row(
                station.id,
                frame.boot,
                frame.seq,
                tag,
                frame.at_ms,
                received.received_at.isoformat(),
                frame.replayed,
                received.payload,
                self.now_text if applied else None,
            )
        )

    def apply(self, each: Arrived, cursor: Cursor, siblings: Sequence[Cursor] = ()) -> None:
        """Hand one event whose turn it is to the business."""
        if slot_beyond(each.frame.message, each.station) is not None:
            each = each._replace(station=self.directory.anew(self.session, each.station))
        self.applier.add(each, cursor, siblings)
