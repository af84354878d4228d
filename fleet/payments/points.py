"""Points money: what riders were given, in minor units of a currency, and how many points that is called.

It pays for rentals and comes back as points; it is never paid out (trigger ledger_bonus_is_not_cash).
"""

from typing import Annotated, Final

from pydantic import Field, RootModel
from sqlalchemy.orm import Session

from fleet.common.money import Money, minor_digits
from fleet.config.service import PUBLIC, ConfigKey, get, registry


class PointsRate(RootModel[Annotated[int, Field(ge=1, le=1_000_000)]]):
    """How many points one unit of a currency is called."""


POINTS_PER_UNIT: Final = registry.add(
    ConfigKey(
        "payments.points_per_unit",
        PointsRate,
        PointsRate(10),
        scope=PUBLIC,
        description="How many points one unit of a currency (1 EUR, 1 JPY) is called.",
    )
)


def as_points(session: Session, money: Money) -> int:
    """Whole points, rounded down: nobody is shown more than they can spend."""
    unit: int = 10 ** minor_digits(money.currency)
    return money.amount_minor * get(session, POINTS_PER_UNIT).root // unit
