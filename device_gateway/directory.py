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


class Directory:
    """Stations by code and by id, for all threads.

    Unknown codes are not remembered: a station counts from the moment it is created. Entries are replaced and never
    taken away.
    """

    def __init__(self) -> None:
        self._by_code: dict[str, StationRef] = {}
        self._by_id: dict[int, StationRef] = {}
        self._loaded_at = monotonic()

    def get(self, code: str) -> StationRef | None:
        return self._by_code.get(code)

    def by_id(self, station_id: int) -> StationRef | None:
        return self._by_id.get(station_id)

    def learn(self, session: Session, codes: Collection[str]) -> None:
        """Look up those of `codes` that are not known yet."""
        missing = [code for code in codes if code not in self._by_code]
        if missing:
            self._load(session, Station.code.in_(missing))

    def learn_ids(self, session: Session, ids: Collection[int]) -> None:
        missing = [each for each in ids if each not in self._by_id]
        if missing:
            self._load(session, Station.id.in_(missing))

    def refresh(self, session: Session) -> None:
        """Read everything known again when it is older than `FRESH_S`."""
        if monotonic() - self._loaded_at > FRESH_S and self._by_id:
            self._load(session, Station.id.in_(list(self._by_id)))
            self._loaded_at = monotonic()

    def _load(self, session: Session, condition: ColumnElement[bool]) -> None:
        query = select(Station.id, Station.code, Station.dialect, Station.heartbeat_s, Station.slot_count)
        for row in session.execute(query.where(condition)):
            ref = StationRef(row[0], row[1], row[2], row[3], row[4])
            self._by_code[ref.code] = ref
            self._by_id[ref.id] = ref
