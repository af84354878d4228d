"""Which tax a country takes, and since when. What was sold before keeps the rate that it was sold under."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country
from fleet.common.money import WHOLE_BP, rounded
from fleet.payments.models import TaxRate


def rate_in(session: Session, country: str, at: datetime) -> TaxRate | None:
    """The rate that holds there then; None: no tax."""
    query = select(TaxRate).where(
        TaxRate.country == country, TaxRate.valid_from <= at, or_(TaxRate.valid_to.is_(None), TaxRate.valid_to > at)
    )
    return session.scalars(query).one_or_none()


def contained(rate: TaxRate, gross_minor: int) -> int:
    """The tax in a price that contains it."""
    return rounded(gross_minor * rate.basis_points, WHOLE_BP + rate.basis_points)


def set_rate(
    session: Session, country: str, *, name: str, basis_points: int, now: datetime, valid_from: datetime | None = None
) -> TaxRate:
    """From `valid_from` (now) on the country takes so much: what holds by then ends, what was to come is forgotten.

    The same again changes nothing. Raises InvalidInput.
    """
    begins = valid_from or now
    if begins < now:
        raise InvalidInput("the past cannot be changed", field="valid_from")
    if not 0 <= basis_points <= 10_000:
        raise InvalidInput("a tax is 0 to 100 %", field="basis_points")
    # The country's row orders two that come at once.
    found = select(Country).where(Country.iso_code == country).with_for_update(key_share=True)
    if session.scalars(found).one_or_none() is None:
        raise InvalidInput(f"no country {country}", field="country")
    current = rate_in(session, country, begins)
    if (
        current is not None
        and current.valid_to is None
        and (current.name, current.basis_points) == (name, basis_points)
    ):
        return current
    _end(session, country, begins)
    rate = TaxRate(country=country, name=name, basis_points=basis_points, valid_from=begins)
    session.add(rate)
    session.flush()  # an overlap belongs to this call
    return rate


def _end(session: Session, country: str, at: datetime) -> None:
    query = select(TaxRate).where(TaxRate.country == country, or_(TaxRate.valid_to.is_(None), TaxRate.valid_to > at))
    for rate in session.scalars(query):
        rate.valid_to = max(at, rate.valid_from)
    session.flush()  # they make way before the new one comes


def rates(session: Session) -> list[TaxRate]:
    """By country, newest first."""
    return list(session.scalars(select(TaxRate).order_by(TaxRate.country, TaxRate.valid_from.desc(), TaxRate.id)))


def load_tax_rates(session: Session, rows: Iterable[dict[str, Any]], now: datetime) -> int:
    """Add the rates of countries that have none yet; returns how many. Raises InvalidInput."""
    known = set(session.scalars(select(TaxRate.country)))
    fresh = [row for row in rows if row.get("country") not in known]
    for row in fresh:
        try:
            country, name, basis_points = str(row["country"]), str(row["name"]), int(row["basis_points"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"tax rate of {row.get('country')!r}: {error!r}", field="tax_rates") from error
        set_rate(session, country, name=name, basis_points=basis_points, now=now)
    return len(fresh)
