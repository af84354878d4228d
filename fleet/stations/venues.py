"""Venues: places with one name and any number of stations, for which tariffs may be made."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country
from fleet.stations.errors import VenueNotFound
from fleet.stations.models import Station, Venue
from fleet.stations.queries import find_station


@dataclass(frozen=True, slots=True)
class VenueSpec:
    code: str
    name: str
    address: str | None = None
    city: str | None = None
    country: str | None = None


def put_venue(session: Session, spec: VenueSpec, now: datetime) -> Venue:
    """The venue of that code, made or brought to `spec`; again changes nothing. Raises InvalidInput."""
    if spec.country is not None and session.get(Country, spec.country) is None:
        raise InvalidInput(f"no country {spec.country}", field="country")
    found = select(Venue).where(Venue.code == spec.code).with_for_update(key_share=True)
    venue = session.scalars(found.execution_options(populate_existing=True)).one_or_none()
    if venue is None:
        venue = Venue(**asdict(spec), created_at=now, updated_at=now)
        session.add(venue)
    changed = {name: value for name, value in asdict(spec).items() if getattr(venue, name) != value}
    for name, value in changed.items():
        setattr(venue, name, value)
        venue.updated_at = now
    session.flush()  # what the database refuses belongs to this call
    return venue


def find_venue(session: Session, code: str) -> Venue:
    """Raises VenueNotFound."""
    venue = session.scalars(select(Venue).where(Venue.code == code)).one_or_none()
    if venue is None:
        raise VenueNotFound(f"no venue {code}", venue=code)
    return venue


def list_venues(session: Session, limit: int, after_id: int | None = None) -> list[Venue]:
    query = select(Venue).order_by(Venue.id).limit(limit)
    return list(session.scalars(query if after_id is None else query.where(Venue.id > after_id)))


def place_station(session: Session, station_code: str, venue_code: str | None, now: datetime) -> Station:
    """The station is in that venue from now on; None: in none. Raises StationNotFound, VenueNotFound.

    Rentals under way keep the price that they began with.
    """
    venue_id = None if venue_code is None else find_venue(session, venue_code).id
    station_id = find_station(session, station_code).id
    query = select(Station).where(Station.id == station_id).with_for_update(key_share=True)
    station = session.scalars(query.execution_options(populate_existing=True)).one()
    if station.venue_id != venue_id:
        station.venue_id, station.updated_at = venue_id, now
        session.flush()  # what is asked next goes by it
    return station
