"""Which tariff a station's rentals go by."""

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, or_, select
from sqlalchemy.orm import Session

from fleet.common.prepared import Prepared
from fleet.db import UtcDateTime
from fleet.rentals.models import Tariff
from fleet.rentals.price import TariffTerms
from fleet.stations.models import Station


def tariff_for(session: Session, station: Station, now: datetime) -> Tariff | None:
    """The most specific one in force: station, city, country, everywhere; the newest among equals."""
    return session.scalars(_in_force(now, station.id, station.city, station.country)).one_or_none()


def _in_force(now: Any, station_id: Any, city: Any, country: Any) -> Select[Tariff]:
    """Of values, or of parameters."""
    return (
        select(Tariff)
        .where(
            Tariff.valid_from <= now,
            or_(Tariff.valid_to.is_(None), Tariff.valid_to > now),
            _is_or_any(Tariff.station_id == station_id, Tariff.station_id.is_(None)),
            _is_or_any(Tariff.city == city, Tariff.city.is_(None)),
            _is_or_any(Tariff.country == country, Tariff.country.is_(None)),
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


def _is_or_any(same: ColumnElement[bool], unset: ColumnElement[bool]) -> ColumnElement[bool]:
    return or_(same, unset)


def find_tariff(session: Session, station: Station, now: datetime) -> TariffTerms | None:
    """What a rental from the station would be frozen with; None: nothing can be rented there now."""
    rows = _terms_in_force().all(session, now=now, station_id=station.id, city=station.city, country=station.country)
    return TariffTerms(*rows[0]) if rows else None


@cache
def _terms_in_force() -> Prepared:
    columns = [getattr(Tariff, name) for name in TariffTerms.__slots__]
    found = _in_force(
        bindparam("now", type_=UtcDateTime()), bindparam("station_id"), bindparam("city"), bindparam("country")
    )
    return Prepared(found.with_only_columns(*columns))


def terms(tariff: Tariff) -> TariffTerms:
    return TariffTerms(**{name: getattr(tariff, name) for name in TariffTerms.__slots__})
