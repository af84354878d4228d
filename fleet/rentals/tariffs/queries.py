"""Which tariff a station's rentals go by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final, Protocol
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Select, and_, bindparam, or_, select
from sqlalchemy.orm import Session

from fleet.common.prepared import Prepared
from fleet.db import UtcDateTime
from fleet.payments.models import TaxRate
from fleet.rentals.errors import TariffNotFound
from fleet.rentals.pricing.terms import LateTerms, Multiplier, TariffTerms, TaxTerms
from fleet.rentals.tariffs.models import Tariff

#: Columns that are terms of the same name; `late` and `tax` are made of several.
_PLAIN: Final = (
    "currency", "unlock_minor", "free_period", "interval_minor", "interval_length", "daily_cap_minor",
    "total_cap_minor", "hold_minor", "overdue_after", "buyout_after", "rounding_step_minor",
    "lost_after", "lost_fee_minor", "reservation_fee_minor",
)  # fmt: skip
_LATE: Final = {
    "multiplier_bp": "late_multiplier_bp",
    "hourly_minor": "late_hourly_minor",
    "grace": "late_grace",
    "daily_cap_minor": "late_daily_cap_minor",
}
#: What a tariff may be for, most specific first.
_SCOPE: Final = ("station_id", "venue_id", "city", "country")
_COLUMNS: Final = (*_PLAIN, *_LATE.values(), "multipliers", "tax_inclusive")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a tariff is for: one station, one venue, one city (of a country), one country, or everybody."""

    station_id: int | None = None
    venue_id: int | None = None
    city: str | None = None
    country: str | None = None


class Place(Protocol):
    """Where a tariff is asked for: a station, as an object of the session or as riders see it."""

    @property
    def id(self) -> int: ...
    @property
    def venue_id(self) -> int | None: ...
    @property
    def city(self) -> str | None: ...
    @property
    def country(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class InForce:
    """A tariff version and what a rental would be frozen with, the country's tax included."""

    tariff_id: UUID
    name: str
    version: int
    terms: TariffTerms


def tariff_in_force(session: Session, station: Place, now: datetime) -> InForce | None:
    """The most specific one: station, venue, city, country, everywhere; None: nothing can be rented there now."""
    rows = _statement().all(
        session,
        now=now,
        station_id=station.id,
        venue_id=station.venue_id,
        city=station.city,
        country=station.country,
    )
    return in_force(rows[0]) if rows else None


def in_force(row: Sequence[Any]) -> InForce | None:
    """The columns of `best_for` in their order; None: there was no row."""
    tariff_id, name, version, tax_name, tax_bp, *values = row
    if tariff_id is None:
        return None
    found = dict(zip(_COLUMNS, values, strict=True))
    return InForce(tariff_id, name, version, _terms(found, _tax(found["tax_inclusive"], tax_name, tax_bp)))


def find_tariff(session: Session, station: Place, now: datetime) -> TariffTerms | None:
    found = tariff_in_force(session, station, now)
    return None if found is None else found.terms


@cache
def _statement() -> Prepared:
    here: dict[str, Any] = {name: bindparam(name) for name in _SCOPE}
    return Prepared(best_for(here, bindparam("now", type_=UtcDateTime())), planned=True)


def best_for(here: Mapping[str, Any], now: ColumnElement[datetime]) -> Select[*tuple[Any, ...]]:
    """At most one row, which `in_force` reads. `here`: a station's station_id, venue_id, city and country."""
    tax = and_(TaxRate.country == here["country"], *_valid(TaxRate, now))
    return (
        select(
            Tariff.id, Tariff.name, Tariff.version, TaxRate.name.label("tax_name"), TaxRate.basis_points,
            *(getattr(Tariff, name) for name in _COLUMNS),
        )
        .outerjoin(TaxRate, tax)
        .where(*_valid(Tariff, now), *(_is_or_any(name, value) for name, value in here.items()))
        .order_by(*(getattr(Tariff, name).is_(None) for name in _SCOPE))
        .limit(1)
    )  # fmt: skip


def _valid(model: type[Tariff | TaxRate], now: Any) -> Sequence[ColumnElement[bool]]:
    return model.valid_from <= now, or_(model.valid_to.is_(None), model.valid_to > now)


def _is_or_any(name: str, value: ColumnElement[Any]) -> ColumnElement[bool]:
    column = getattr(Tariff, name)
    return or_(column == value, column.is_(None))


def terms(tariff: Tariff, tax: TaxTerms | None = None) -> TariffTerms:
    """`tax`: that of the country where it is used; the tariff itself only says whether it contains one."""
    values = {name: getattr(tariff, name) for name in _COLUMNS}
    return _terms(values, tax or TaxTerms(inclusive=tariff.tax_inclusive))


def columns(values: TariffTerms) -> dict[str, Any]:
    """What a tariff's row holds of its terms."""
    late = {column: getattr(values.late, name) for name, column in _LATE.items()}
    plain = {name: getattr(values, name) for name in _PLAIN}
    multipliers = msgspec.to_builtins(values.multipliers)
    return {**plain, **late, "multipliers": multipliers, "tax_inclusive": values.tax.inclusive}


def _terms(values: Mapping[str, Any], tax: TaxTerms) -> TariffTerms:
    return TariffTerms(
        **{name: values[name] for name in _PLAIN},
        multipliers=msgspec.convert(values["multipliers"], tuple[Multiplier, ...]),
        late=LateTerms(**{name: values[column] for name, column in _LATE.items()}),
        tax=tax,
    )


def _tax(inclusive: bool, name: str | None, basis_points: int | None) -> TaxTerms:
    if name is None or basis_points is None:
        return TaxTerms(inclusive=inclusive)
    return TaxTerms(name, basis_points, inclusive)


def tariff_by_id(session: Session, tariff_id: UUID) -> Tariff:
    """Raises TariffNotFound."""
    tariff = session.get(Tariff, tariff_id)
    if tariff is None:
        raise TariffNotFound("there is no such tariff", tariff_id=tariff_id)
    return tariff


def find_tariffs(
    session: Session,
    *,
    limit: int,
    before: UUID | None = None,
    series_id: UUID | None = None,
    at: datetime | None = None,
) -> list[Tariff]:
    """Newest first. `series_id`: versions of one tariff; `at`: those that hold then."""
    query: Select[Tariff] = select(Tariff).order_by(Tariff.id.desc()).limit(limit)
    if before is not None:
        query = query.where(Tariff.id < before)
    if series_id is not None:
        query = query.where(Tariff.series_id == series_id)
    if at is not None:
        query = query.where(*_valid(Tariff, at))
    return list(session.scalars(query))
