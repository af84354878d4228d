"""When a debt is over, and when a card is tried again. Pure."""

from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, Field

from fleet.payments.debts.models import DebtState

_YEAR_MINUTES = 366 * 24 * 60


class RetryPolicy(BaseModel):
    """When the rider's saved card is tried by itself. The wallet is looked at whenever money comes in."""

    #: False: cards are charged for debts only when their rider asks for it.
    card: bool = True
    #: Minutes from when it was owed to the first try, from that to the second, and so on; after the last one no more.
    after_minutes: Annotated[list[Annotated[int, Field(ge=1, le=_YEAR_MINUTES)]], Field(max_length=20)] = [
        10,
        24 * 60,
        3 * 24 * 60,
        7 * 24 * 60,
        14 * 24 * 60,
    ]


def next_try(policy: RetryPolicy, tries: int, now: datetime) -> datetime | None:
    """When the card is tried after `tries` tries; None: no more."""
    if not policy.card or tries >= len(policy.after_minutes):
        return None
    return now + timedelta(minutes=policy.after_minutes[tries])


def state_of(*, open_minor: int, paid_minor: int, written_off_minor: int) -> DebtState:
    """Nothing open: it was paid, unless some of it was given up, or nothing was owed after all."""
    if open_minor:
        return DebtState.OPEN
    if written_off_minor:
        return DebtState.WRITTEN_OFF
    return DebtState.PAID if paid_minor else DebtState.CANCELLED
