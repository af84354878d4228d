"""The tariffs and packages of an initial-data file (fleet/common/fixtures.py)."""

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.rentals.errors import TariffOverlap
from fleet.rentals.pricing.terms import TariffTerms
from fleet.rentals.tariffs.edits import TariffSpec, create_tariff
from fleet.rentals.tariffs.models import PackageKind, RentalPackage, Tariff
from fleet.rentals.tariffs.packages import PackageSpec, create_package
from fleet.rentals.tariffs.queries import Scope

#: Durations and the member of the file that holds them, in minutes.
_DURATIONS: Final = {
    "free_period": "free_minutes",
    "interval_length": "interval_minutes",
    "overdue_after": "overdue_after_minutes",
    "buyout_after": "buyout_after_minutes",
    "lost_after": "lost_after_minutes",
}
_NAMES: Final = frozenset(field.name for field in fields(TariffTerms))


def load_tariffs(session: Session, rows: Iterable[dict[str, Any]], now: datetime) -> int:
    """Add the tariffs whose name is not there yet, valid from `now`; returns how many. Raises InvalidInput.

    What an operator has changed since is left alone. A member of the file that is no duration is called as in
    `TariffTerms` (amounts, `multipliers`, `late`, `rounding_step_minor`, `tax`), or says for whom it is (`city`,
    `country`). One for which another tariff holds already is left out.
    """
    known = set(session.scalars(select(Tariff.name)))
    fresh = [row for row in rows if row.get("name") not in known]
    return sum(_add(session, _spec(row), now) for row in fresh)


def load_packages(session: Session, rows: Iterable[dict[str, Any]], now: datetime) -> int:
    """Add the packages whose name is not there yet, withdrawn ones included; returns how many. Raises InvalidInput."""
    known = set(session.scalars(select(RentalPackage.name)))
    fresh = [row for row in rows if row.get("name") not in known]
    for row in fresh:
        create_package(session, _package(row), now)
    return len(fresh)


def _package(row: dict[str, Any]) -> PackageSpec:
    values = dict(row)
    try:
        return PackageSpec(
            kind=PackageKind(values.pop("kind")), duration=timedelta(minutes=values.pop("minutes")), **values
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"package {row.get('name')!r}: {error!r}", field="packages") from error


def _add(session: Session, spec: TariffSpec, now: datetime) -> bool:
    """False: another tariff holds there by now."""
    try:
        with session.begin_nested():
            create_tariff(session, spec, now)
    except TariffOverlap:
        return False
    return True


def _spec(row: dict[str, Any]) -> TariffSpec:
    values = {name: value for name, value in row.items() if name not in {"name", "city", "country"}}
    try:
        durations = {column: 60.0 * values.pop(member) for column, member in _DURATIONS.items() if member in values}
        terms = TariffTerms.from_json({**values, **durations})
        if unknown := sorted(set(values) - _NAMES):
            raise ValueError(f"unknown: {', '.join(unknown)}")  # noqa: TRY301  # told like every other mistake
        return TariffSpec(row["name"], Scope(city=row.get("city"), country=row.get("country")), terms)
    except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise InvalidInput(f"tariff {row.get('name')!r}: {error!r}", field="tariffs") from error
