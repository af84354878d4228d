"""What a rental that has not begun would be charged for. Pure."""

from collections.abc import Sequence
from datetime import datetime

from fleet.rentals.pricing.adjustments import Adjustment
from fleet.rentals.pricing.gross import kept_for
from fleet.rentals.pricing.meter import Paused, when
from fleet.rentals.pricing.price import Price, price
from fleet.rentals.pricing.terms import Prepaid, TariffTerms


def kept_at(
    terms: TariffTerms,
    started: datetime,
    paused: Paused = (),
    time_zone: str = "UTC",
    *,
    prepaid: tuple[Prepaid, ...] = (),
    adjustments: Sequence[Adjustment] = (),
) -> datetime | None:
    """When its bank counts as bought or lost; None: never."""
    kept = kept_for(terms, started, time_zone, prepaid, adjustments)
    return None if kept is None else when(started, kept, paused)


def example(
    terms: TariffTerms,
    started: datetime,
    ended: datetime,
    paused: Paused = (),
    time_zone: str = "UTC",
    *,
    prepaid: tuple[Prepaid, ...] = (),
    adjustments: Sequence[Adjustment] = (),
) -> Price:
    """What is charged for a bank that is out from `started` to `ended`, as when a rental ends.

    One that counts as bought or lost by then is charged when it does (`closing.buyout`): no time after that costs
    anything, and nothing is taken off.
    """
    kept = kept_at(terms, started, paused, time_zone, prepaid=prepaid, adjustments=adjustments)
    if kept is not None and ended >= kept:
        return price(terms, started, kept, paused, time_zone, prepaid=prepaid)
    return price(
        terms.brought_back(), started, ended, paused, time_zone, prepaid=prepaid, adjustments=adjustments
    )  # fmt: skip
