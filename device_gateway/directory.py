"""What the gateway knows of stations without asking for every message."""

from collections.abc import Collection
from time import monotonic
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from fleet.stations.models import Station

#: An operator's change of dialect, period or slot count reaches every gateway within this time.
FRESH_S: Final = 60.0


class StationRef(NamedTuple):
    id: int
    code: str
    dialect: str
    heartbeat_s: int
    slot_count: int
    #: What a vendor's cabinet calls itself.
    hardware_id: str | None = None


class Directory:
    """Stations by code and by id, for all threads.

    Unknown codes are not remembered: a station counts from the moment it is created. Entries are replaced; only
    hardware ids are taken away.
    """

    def __init__(self) -> None:
        self._by_code: dict[str, StationRef] = {}
        self._by_id: dict[int, StationRef] = {}
        self._by_hardware: dict[str, StationRef] = {}
        self._loaded_at = monotonic()

    def get(self, code: str) -> StationRef | None:
        return self._by_code.get(code)

    def by_id(self, station_id: int) -> StationRef | None:
        return self._by_id.get(station_id)

    def by_hardware(self, hardware_id: str) -> StationRef | None:
        return self._by_hardware.get(hardware_id)

    def learn_hardware(self, session: Session, hardware_ids: Collection[str]) -> None:
        """Look up those cabinets of vendors that are not known yet."""
        missing = [each for each in hardware_ids if each not in self._by_hardware]
        if missing:
            self._load(session, Station.hardware_id.in_(missing))

    def learn(self, session: Session, codes: Collection[str]) -> None:
        """Look up those of `codes` that are not known yet."""
        missing = [code for code in codes if code not in self._by_code]
        if missing:
            self._load(session, Station.code.in_(missing))

    def learn_ids(self, session: Session, ids: Collection[int]) -> None:
        missing = [each for each in ids if each not in self._by_id]
        if missing:
            self._load(session, Station.id.in_(missing))

    def anew(self, session: Session, ref: StationRef) -> StationRef:
        """As the station is now: for what does not fit what is known of it."""
        self._load(session, Station.id == ref.id)
        return self._by_id.get(ref.id, ref)

    def refresh(self, session: Session) -> None:
        """Read everything known again when it is older than `FRESH_S`."""
        if monotonic() - self._loaded_at > FRESH_S and self._by_id:
            self._load(session, Station.id.in_(list(self._by_id)))
            self._loaded_at = monotonic()

    def _load(self, session: Session, condition: ColumnElement[bool]) -> None:
        query = select(
            Station.id, Station.code, Station.dialect, Station.heartbeat_s, Station.slot_count, Station.hardware_id
        )
        for row in session.execute(query.where(condition)):
            ref = StationRef(row[0], row[1], row[2], row[3], row[4], row[5])
            before = self._by_id.get(ref.id)
            self._by_code[ref.code] = ref
            self._by_id[ref.id] = ref
            if ref.hardware_id is not None:
                self._by_hardware[ref.hardware_id] = ref
            if before is not None and before.hardware_id not in {None, ref.hardware_id}:
                self._forget_hardware(before)

    def _forget_hardware(self, before: StationRef) -> None:
        """The cabinet was exchanged: the old one is nobody's, unless it is another station's by now."""
        if before.hardware_id is not None and self._by_hardware.get(before.hardware_id) is before:
            self._by_hardware.pop(before.hardware_id, None)  # another thread may have been faster
