"""Why a station went away, as far as the circumstances tell (decision 0102)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from firmware_protocol.types import OfflineCause, StationFaultKind
from fleet.devices.models import BackendOutage
from fleet.stations.models import Station, StationFaultState

POWER: Final = "power"
NETWORK: Final = "network"
#: The broker, or the way to it, is gone for many.
BROKER: Final = "broker"
#: All cabinets of one place went at once: its power, or its network.
SITE: Final = "site"
#: They were lost while nobody listened.
BACKEND: Final = "backend"
#: Nothing tells why.
SILENT: Final = "silent"

#: A station is late after this share of the silence it is allowed.
_LATE: Final = 0.6
#: So many late ones, and so great a share of the fleet, are no chance.
_MANY: Final = 10
_SHARE_OF_FLEET: Final = 0.5
#: So many of one neighbourhood (a cell of about 0.7 km²), and so great a share of it.
_FEW: Final = 3
_SHARE_OF_SITE: Final = 0.9

_LATENESS: Final = text("""
SELECT h3_cell, count(*), count(*) FILTER (WHERE late) FROM (
    SELECT h3_cell,
           NOT online OR last_heard_at < CAST(:now AS timestamptz) - allowed * :late * interval '1 second' AS late
      FROM (SELECT h3_cell, online, last_heard_at, online_changed_at, offline_cause,
                   coalesce(silent_after_s, heartbeat_s * CAST(:periods AS float)) AS allowed FROM station) t
     WHERE online OR (offline_cause = ANY(CAST(:by_silence AS text[]))
                      AND online_changed_at > CAST(:now AS timestamptz) - allowed * interval '1 second')
) s GROUP BY GROUPING SETS ((), (h3_cell))
""")
_BY_SILENCE: Final = "{silent,broker,site,backend,power}"


class Lost(NamedTuple):
    """A station whose silence has become too long."""

    station_id: int
    last_seen_at: datetime
    allowed_s: float
    h3_cell: int


@dataclass(frozen=True, slots=True)
class Lateness:
    """How many of some stations have not been heard of for a while."""

    stations: int
    late: int

    def is_mass(self, least: int, share: float) -> bool:
        return self.late >= least and self.late >= share * self.stations


def of_will(told: OfflineCause, *, no_mains: bool) -> str:
    """A broken connection: by its power where the cabinet had none, else by its network. Its own word counts first."""
    if told not in {OfflineCause.UNKNOWN, OfflineCause.NETWORK}:
        return told.value
    return POWER if no_mains else NETWORK


def of_silence(*, no_mains: bool, fleet: Lateness, site: Lateness, outage: str | None) -> str:
    """What the circumstances say, the most certain first. `outage`: why nobody listened when it was last heard."""
    if no_mains:
        return POWER
    if outage is not None:
        return outage
    if fleet.is_mass(_MANY, _SHARE_OF_FLEET):
        return BROKER
    if site.is_mass(_FEW, _SHARE_OF_SITE):
        return SITE
    return SILENT


def without_mains(session: Session, station_ids: Collection[int]) -> set[int]:
    """Stations whose last word was that they have no mains."""
    by_heartbeat = select(Station.id).where(Station.id.in_(station_ids), Station.mains.is_(False))
    by_fault = select(StationFaultState.station_id).where(
        StationFaultState.station_id.in_(station_ids),
        StationFaultState.kind == StationFaultKind.POWER_LOST,
        StationFaultState.active,
    )
    return set(session.scalars(by_heartbeat.union(by_fault)))


def diagnose(
    session: Session, lost: Sequence[Lost], now: datetime, periods: float
) -> tuple[dict[int, str], dict[int, dict[str, Any]]]:
    """Causes of these silences, and what they were concluded from."""
    no_mains = without_mains(session, [each.station_id for each in lost])
    fleet, sites = _lateness(session, now, periods)
    outages = _outages(session, lost)
    found: dict[int, str] = {}
    evidence: dict[int, dict[str, Any]] = {}
    for each in lost:
        site = sites.get(each.h3_cell, Lateness(1, 1))
        outage = next((row.cause for row in outages if _fell_into(each, row, now)), None)
        found[each.station_id] = of_silence(no_mains=each.station_id in no_mains, fleet=fleet, site=site, outage=outage)
        evidence[each.station_id] = {
            "allowed_s": round(each.allowed_s, 1),
            "late_of_fleet": f"{fleet.late}/{fleet.stations}",
            "late_of_site": f"{site.late}/{site.stations}",
        }
    return found, evidence


def _lateness(session: Session, now: datetime, periods: float) -> tuple[Lateness, Mapping[int, Lateness]]:
    values = {"now": now, "periods": periods, "late": _LATE, "by_silence": _BY_SILENCE}
    rows: Iterable[Any] = session.execute(_LATENESS, values)
    by_cell = {cell: Lateness(count, late) for cell, count, late in rows}
    fleet = by_cell.pop(None, Lateness(0, 0))
    return fleet, by_cell


def _outages(session: Session, lost: Sequence[Lost]) -> list[BackendOutage]:
    earliest = min(each.last_seen_at for each in lost)
    query = select(BackendOutage).where(BackendOutage.until.is_(None) | (BackendOutage.until >= earliest))
    return list(session.scalars(query.order_by(BackendOutage.since.desc())))


def _fell_into(lost: Lost, outage: BackendOutage, now: datetime) -> bool:
    """It was last heard just before, or during, a time in which nobody listened."""
    before = (outage.since - lost.last_seen_at).total_seconds()
    return before <= lost.allowed_s and lost.last_seen_at <= (outage.until or now)
