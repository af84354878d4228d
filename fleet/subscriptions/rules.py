"""States, periods, the retry schedule, and how many free minutes there are. Pure."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field, model_validator

from fleet.common.errors import IllegalTransition
from fleet.subscriptions.models import PeriodUnit, SubscriptionState

#: A renewal may take so long though all is well.
SLACK: Final = timedelta(hours=1)
_S = SubscriptionState
TRANSITIONS: Final[dict[SubscriptionState, frozenset[SubscriptionState]]] = {
    _S.PENDING: frozenset({_S.ACTIVE, _S.CANCELLED, _S.EXPIRED}),
    # Renewed: ACTIVE stays ACTIVE.
    _S.ACTIVE: frozenset({_S.ACTIVE, _S.PAST_DUE, _S.CANCELLED}),
    _S.PAST_DUE: frozenset({_S.ACTIVE, _S.CANCELLED, _S.EXPIRED}),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
}


def check_move(current: SubscriptionState, wanted: SubscriptionState) -> None:
    """Raises IllegalTransition."""
    if wanted not in TRANSITIONS[current]:
        raise IllegalTransition("subscription", current, wanted)


@dataclass(frozen=True, slots=True)
class Length:
    """How long a period is."""

    unit: PeriodUnit
    count: int


def after_periods(anchor: datetime, zone: str, length: Length, periods: int) -> datetime:
    """When so many periods are over that began at `anchor`: the same local time, in `zone`.

    Always counted from the anchor, so that a short month shortens nothing but itself: 31 January, 28 February, 31
    March. A local time that a change of the clocks leaves out is as much later; of one that comes twice it is the
    first.
    """
    if periods == 0:  # even in the second of two hours of the same name
        return anchor.astimezone(UTC)
    local = anchor.astimezone(ZoneInfo(zone))
    steps = length.count * periods
    if length.unit is PeriodUnit.MONTH:
        day = _months_later(local.date(), steps)
    else:
        day = local.date() + timedelta(days=steps * (7 if length.unit is PeriodUnit.WEEK else 1))
    return datetime.combine(day, local.time(), tzinfo=local.tzinfo).astimezone(UTC)


def _months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


@dataclass(frozen=True, slots=True)
class Span:
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where periods are counted from: the one after period `number` began at `at`."""

    at: datetime
    number: int
    zone: str


def period_after(anchor: Anchor, length: Length, number: int) -> Span:
    """The period `number` (from `anchor.number` + 1 on), in one line with those before it."""
    before = number - anchor.number - 1
    return Span(
        after_periods(anchor.at, anchor.zone, length, before), after_periods(anchor.at, anchor.zone, length, before + 1)
    )


class Dunning(BaseModel):
    """What happens when a period is not paid. Days count from the first refusal; benefits go on for the grace."""

    retry_days: tuple[Annotated[int, Field(ge=1, le=60)], ...] = (1, 3, 5, 7)
    grace_days: Annotated[int, Field(ge=0, le=60)] = 3

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if any(later <= earlier for earlier, later in zip(self.retry_days, self.retry_days[1:], strict=False)):
            raise ValueError("the days of retries grow")
        return self

    @property
    def grace(self) -> timedelta:
        """Never nothing: nobody loses a benefit, nor the day of the month, because a job or a card took its time."""
        return max(timedelta(days=self.grace_days), SLACK)

    def retry_at(self, since: datetime, retries: int) -> datetime | None:
        """When it is asked for again, after so many retries; None: no more."""
        if retries >= len(self.retry_days):
            return None
        return since + timedelta(days=self.retry_days[retries])


def in_line(span: Span, now: datetime, grace: timedelta) -> bool:
    """Whether a period that is paid now goes on where the last one ended: its benefits never stopped, it is not over.

    Else it begins with the payment: nobody pays for days on which they had nothing.
    """
    return now < min(span.starts_at + grace, span.ends_at)


@dataclass(frozen=True, slots=True)
class Allowance:
    """Free seconds by plan: for one rental, a local day, a period. None: no such limit."""

    per_rental: int | None
    per_day: int | None
    per_period: int | None

    def left(self, used_in_day: int, used_in_period: int) -> int:
        """What a rental may be promised now; 0 when the plan has no free minutes."""
        limits = (
            self.per_rental,
            None if self.per_day is None else self.per_day - used_in_day,
            None if self.per_period is None else self.per_period - used_in_period,
        )
        return max(0, min((limit for limit in limits if limit is not None), default=0))
