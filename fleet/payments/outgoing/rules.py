"""How money that leaves may go, and what a withdrawal costs. Pure."""

from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from fleet.common.errors import IllegalTransition
from fleet.common.money import share
from fleet.payments.outgoing.models import MoneyOutState

_S = MoneyOutState
MOVES: dict[MoneyOutState, frozenset[MoneyOutState]] = {
    _S.PENDING: frozenset({_S.SUCCEEDED, _S.FAILED}),
    _S.SUCCEEDED: frozenset({_S.RETURNED}),
    _S.FAILED: frozenset(),
    _S.RETURNED: frozenset(),
}


def check_move(current: MoneyOutState, wanted: MoneyOutState) -> None:
    """Raises IllegalTransition for a move that MOVES does not hold."""
    if wanted not in MOVES[current]:
        raise IllegalTransition("money on its way out", current, wanted)


class WithdrawalPolicy(BaseModel):
    """Minor units of one currency; days and months are the rider's own."""

    min_minor: Annotated[int, Field(gt=0)]
    day_minor: Annotated[int, Field(gt=0)]
    month_minor: Annotated[int, Field(gt=0)]
    #: The fee: so many hundredths of a per cent, and so much besides.
    fee_bp: Annotated[int, Field(ge=0, lt=10_000)] = 0
    fee_minor: Annotated[int, Field(ge=0)] = 0
    #: ISO codes of the countries whose riders may withdraw.
    countries: frozenset[str] = frozenset()

    def fee(self, amount_minor: int) -> int:
        """Part of the amount, by the one rounding rule."""
        return share(amount_minor, self.fee_bp) + self.fee_minor


def day_and_month(now: datetime, time_zone: str) -> tuple[datetime, datetime]:
    """When the rider's day and month began."""
    midnight = now.astimezone(ZoneInfo(time_zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight, midnight.replace(day=1)
