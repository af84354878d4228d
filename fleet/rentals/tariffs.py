"""Which tariff a station's rentals go by."""

from datetime import datetime

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from fleet.rentals.models import Tariff
from fleet.rentals.price import TariffTerms
from fleet.stations.models import Station


def tariff_for(session: Session, station: Station, now: datetime) -> Tariff | None:
    """The most specific one in force: station, city, country, everywhere; the newest among equals."""
    query = (
        select(Tariff)
        .where(
            Tariff.valid_from <= now,
            or_(Tariff.valid_to.is_(None), Tariff.valid_to > now),
            _is_or_any(Tariff.station_id == station.id, Tariff.station_id.is_(None)),
            _is_or_any(Tariff.city == station.city, Tariff.city.is_(None)),
            _is_or_any(Tariff.country == station.country, Tariff.country.is_(None)),
        )
        .order_by(
            Tariff.station_id.is_(None),
            Tariff.city.is_(None),
            Tariff.country.is_(None),
            Tariff.valid_from.desc(),
            Tariff.id.desc(),
        )
        .limit(1)
    )
    return session.scalars(query).one_or_none()


def _is_or_any(same: ColumnElement[bool], unset: ColumnElement[bool]) -> ColumnElement[bool]:
    return or_(same, unset)


def find_tariff(session: Session, station: Station, now: datetime) -> TariffTerms | None:
    """What a rental from the station would be frozen with; None: nothing can be rented there now."""
    tariff = tariff_for(session, station, now)
    return None if tariff is None else terms(tariff)


def terms(tariff: Tariff) -> TariffTerms:
    return TariffTerms(**{name: getattr(tariff, name) for name in TariffTerms.__slots__})
