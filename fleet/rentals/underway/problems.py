"""A rider wants to give the bank back and the station cannot take it: the clock stands still while they go to the next.

Nobody has to decide anything: when the grace period is over, the clock goes on by itself.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.rentals.errors import RentalNotOpen
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental
from fleet.rentals.queries import rental_of
from fleet.rentals.rules import RIDING, RentalPolicy
from fleet.rentals.underway import issues, pauses
from fleet.rentals.underway.models import IssueKind, PauseKind, RentalPause
from fleet.stations.models import Station
from fleet.stations.queries import Only, StationSummary, find_station, nearby

RADIUS_M: Final = 10_000.0
STATIONS: Final = 5


class ProblemKind(StrEnum):
    FULL = "full"
    OFFLINE = "offline"
    FAULTY = "faulty"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ReturnProblem:
    """`paused_until` None: billing was paused often enough in this rental. `stations`: nearest first."""

    paused_until: datetime | None
    pauses_left: int
    stations: list[StationSummary]


def report_return_problem(
    session: Session,
    *,
    user_id: UUID,
    rental_id: UUID,
    station_code: str,
    kind: ProblemKind,
    note: str | None,
    policy: RentalPolicy,
    now: datetime,
    position: tuple[float, float] | None = None,
) -> ReturnProblem:
    """Pause billing for the grace period and say where else the bank can go.

    Again within that time changes nothing. `position`: where the rider is (degrees); None: at the station.
    Raises RentalNotFound, RentalNotOpen, StationNotFound.
    """
    rental_of(session, user_id, rental_id)
    station = find_station(session, station_code)
    rental = lock_rentals(session, [rental_id])[rental_id]
    if rental.state not in RIDING:
        raise RentalNotOpen(f"the rental is {rental.state}", rental_id=rental_id, state=rental.state)
    taken = _taken(session, rental)
    running = pauses.running(session, rental, PauseKind.RETURN_PROBLEM, now)
    if running is None and taken < policy.return_problems_max and policy.return_grace:
        running = _pause(session, rental, station, kind, policy=policy, now=now)
        taken += 1
        issues.noted(session, rental, IssueKind.RETURN, note, now, station_id=station.id)
    latitude, longitude = position or (station.latitude, station.longitude)
    return ReturnProblem(
        paused_until=None if running is None else running.ends_at,
        pauses_left=max(0, policy.return_problems_max - taken),
        stations=_others(session, station, latitude, longitude, policy=policy, now=now),
    )


def _taken(session: Session, rental: Rental) -> int:
    query = select(func.count()).where(RentalPause.rental_id == rental.id, RentalPause.kind == PauseKind.RETURN_PROBLEM)
    return session.scalar(query) or 0


def _pause(
    session: Session, rental: Rental, station: Station, kind: ProblemKind, *, policy: RentalPolicy, now: datetime
) -> RentalPause:
    return pauses.begin(
        session,
        rental,
        PauseKind.RETURN_PROBLEM,
        at=now,
        until=now + policy.return_grace,
        by=rental.user_id,
        now=now,
        reason=f"{station.code}: {kind}",
    )


def _others(
    session: Session, station: Station, latitude: float, longitude: float, *, policy: RentalPolicy, now: datetime
) -> list[StationSummary]:
    """The station itself is left out, whatever we think that it could take."""
    found = nearby(
        session,
        latitude=latitude,
        longitude=longitude,
        radius_m=RADIUS_M,
        limit=STATIONS + 1,
        now=now,
        min_charge_pct=policy.min_charge_pct,
        only=Only.RETURNABLE,
    )
    return [each for each in found if each.id != station.id][:STATIONS]
