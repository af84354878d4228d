"""What an example would cost under a configuration that may not be in force yet. Changes nothing."""

from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import available_timezones

from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.payments.taxes import rate_in
from fleet.rentals.pricing.example import example, kept_at
from fleet.rentals.pricing.gross import due_after
from fleet.rentals.pricing.meter import Paused, when
from fleet.rentals.pricing.price import LineKind, Price
from fleet.rentals.pricing.terms import Prepaid, TariffTerms, TaxTerms


@dataclass(frozen=True, slots=True)
class Trial:
    price: Price
    #: Before the total cap, minor units.
    late_minor: int
    overdue_at: datetime
    buyout_at: datetime | None


def taxed(session: Session, terms: TariffTerms, country: str, now: datetime) -> TariffTerms:
    """The same under the tax of a country as it is now; none: without tax."""
    rate = rate_in(session, country, now)
    if rate is None:
        return replace(terms, tax=TaxTerms(inclusive=terms.tax.inclusive))
    return replace(terms, tax=TaxTerms(rate.name, rate.basis_points, terms.tax.inclusive))


def attempt(
    terms: TariffTerms,
    started: datetime,
    ended: datetime,
    *,
    paused: Paused = (),
    time_zone: str = "UTC",
    prepaid: tuple[Prepaid, ...] = (),
) -> Trial:
    """Raises InvalidInput for terms that could not be made a tariff of either, and for a time zone nobody knows."""
    terms.check()
    if time_zone not in available_timezones():
        raise InvalidInput(f"{time_zone!r} is not a time zone", field="time_zone")
    if any(end < begin for begin, end in paused):
        raise InvalidInput("a pause ends before it begins", field="paused")
    found = example(terms, started, ended, paused, time_zone, prepaid=prepaid)
    late = sum(line.amount_minor for line in found.lines if line.kind in {LineKind.LATE_FEE, LineKind.LATE_CAP})
    return Trial(
        price=found,
        late_minor=late,
        overdue_at=when(started, due_after(terms, prepaid), paused),
        buyout_at=kept_at(terms, started, paused, time_zone, prepaid=prepaid),
    )
