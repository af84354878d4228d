"""Figures about a rider's rentals, and the positions that they share."""

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from api.auth import CurrentUser
from api.deps import Now, SessionDep
from api.problems import problems
from api.schemas import Input, Instant, MoneyOut, Schema
from api.v1 import area
from fleet.rentals.queries import rental_of
from fleet.rentals.records import statistics
from fleet.rentals.records.statistics import RiderStatistics
from fleet.rentals.underway import locations
from fleet.rentals.underway.locations import POSITIONS_MAX, Position

router = area("rental", "rentals")


class StatisticsOut(Schema):
    """Of rentals that are over and had a bank."""

    rentals: int
    in_time: Annotated[int, Field(description="brought back before they were overdue")]
    bought: int
    total_minutes: int
    longest_minutes: int
    stations: Annotated[int, Field(description="at which banks were taken or given back")]
    paid: Annotated[list[MoneyOut], Field(description="by currency, without what was given back")]

    @classmethod
    def of(cls, found: RiderStatistics) -> "StatisticsOut":
        return cls(
            rentals=found.rentals,
            in_time=found.in_time,
            bought=found.bought,
            total_minutes=int(found.total_time.total_seconds() // 60),
            longest_minutes=int(found.longest.total_seconds() // 60),
            stations=found.stations,
            paid=[MoneyOut.model_validate(each) for each in found.paid],
        )


class SharingIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"shared": True}]})

    shared: bool


class SharingOut(Schema):
    shared: bool


class PositionIn(Input):
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    accuracy_m: Annotated[float | None, Field(ge=0, le=1_000_000)] = None
    at: Instant

    def position(self) -> Position:
        return Position(self.latitude, self.longitude, self.accuracy_m, self.at)


class PositionsIn(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"positions": [{"latitude": 47.3769, "longitude": 8.5417, "at": "2026-11-25T12:00:00Z"}]}]
        }
    )

    positions: Annotated[list[PositionIn], Field(min_length=1, max_length=POSITIONS_MAX)]


class PositionOut(Schema):
    latitude: float
    longitude: float
    accuracy_m: float | None
    at: Instant


class PositionsOut(Schema):
    """Newest first."""

    items: list[PositionOut]


@router.get(
    "/statistics", operation_id="rental_statistics", summary="My rentals in figures", responses=problems(401, 403)
)
def get_statistics(session: SessionDep, user: CurrentUser) -> StatisticsOut:
    return StatisticsOut.of(statistics.of_rider(session, user.id))


@router.put(
    "/{rental_id}/location-sharing", operation_id="share_rental_location",
    summary="Allow to keep positions of this rental, or stop it", responses=problems(401, 403, 404, 409),
)  # fmt: skip
def share(rental_id: UUID, body: SharingIn, session: SessionDep, user: CurrentUser, now: Now) -> SharingOut:
    """Stopped, the positions that are kept are deleted at once; otherwise a few days later."""
    return SharingOut(shared=locations.share(session, user_id=user.id, rental_id=rental_id, on=body.shared, now=now))


@router.post(
    "/{rental_id}/location", operation_id="add_rental_positions", summary="Where the bank is",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def add_positions(rental_id: UUID, body: PositionsIn, session: SessionDep, user: CurrentUser, now: Now) -> PositionsOut:
    """Only while it is shared and the bank is out (409). Sent again nothing changes."""
    positions = [each.position() for each in body.positions]
    locations.add(session, user_id=user.id, rental_id=rental_id, positions=positions, now=now)
    return _positions(session, rental_id)


@router.get(
    "/{rental_id}/location", operation_id="list_rental_positions", summary="Positions that I shared, newest first",
    responses=problems(401, 403, 404),
)  # fmt: skip
def list_positions(rental_id: UUID, session: SessionDep, user: CurrentUser) -> PositionsOut:
    rental_of(session, user.id, rental_id)
    return _positions(session, rental_id)


def _positions(session: SessionDep, rental_id: UUID) -> PositionsOut:
    return PositionsOut(items=[PositionOut.model_validate(each) for each in locations.of_rental(session, rental_id)])
