"""What time costs in the model: one interval after the other, by the words of the tariff. No code of the backend's."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

ZONE: Final = ZoneInfo("Europe/Zurich")
HOUR: Final = timedelta(hours=1)
NOTHING: Final = timedelta(0)
GRACE: Final = timedelta(minutes=2)
#: Longer than any test lasts.
FOREVER: Final = datetime.max.replace(tzinfo=ZONE)
Pause = tuple[datetime, datetime | None]


@dataclass(frozen=True, slots=True)
class Package:
    """`bought_at` None: with the start."""

    duration: timedelta
    price: int
    bought_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Fare:
    """Minor units. A bank counts as lost `lost_after` its due time, and costs `lost_fee` then."""

    unlock: int = 100
    interval: int = 50
    length: timedelta = timedelta(minutes=30)
    free: timedelta = NOTHING
    day_cap: int = 1000
    cap: int = 3000
    hold: int = 500
    due: timedelta = timedelta(days=1)
    lost_after: timedelta | None = None
    lost_fee: int = 0
    late_hour: int = 0
    reservation_fee: int = 0

    def due_after(self, packages: Sequence[Package]) -> timedelta:
        return sum((each.duration for each in packages), NOTHING) if packages else max(self.due, self.free)

    def is_lost(self, used: timedelta, packages: Sequence[Package]) -> bool:
        return self.lost_after is not None and used >= self.due_after(packages) + self.lost_after

    def covered(self, packages: Sequence[Package]) -> timedelta:
        """Time that costs nothing by itself."""
        return sum((each.duration for each in packages), NOTHING) if packages else self.free

    def counted(self, used: timedelta, packages: Sequence[Package], granted: timedelta) -> timedelta:
        """Of a bank that comes back after it was lost: the time until then. What is granted puts that off."""
        if self.lost_after is None:
            return used
        return min(used, self.due_after(packages) + self.lost_after + granted)

    def cost(
        self,
        started: datetime,
        used: timedelta,
        packages: Sequence[Package],
        *,
        kept: bool = False,
        granted: timedelta = NOTHING,
    ) -> int:
        """`kept`: the bank does not come back; then nothing is taken off. `granted`: its last minutes cost nothing, but
        for being late.
        """
        if self._is_free(used, packages):
            return 0
        total = self._time(started, used if kept else max(used - granted, NOTHING), packages)
        late = used - self.due_after(packages)
        if late > GRACE:
            total += self.late_hour * -(-late // HOUR)
        if kept and self.is_lost(used, packages):
            total += self.lost_fee
        return min(total, self.cap)

    def _is_free(self, used: timedelta, packages: Sequence[Package]) -> bool:
        return not packages and bool(self.free) and used <= self.free

    def _time(self, started: datetime, used: timedelta, packages: Sequence[Package]) -> int:
        if self._is_free(used, packages):
            return 0
        fixed = sum(each.price for each in packages) if packages else self.unlock
        return fixed + sum(min(self.day_cap, spent) for spent in self._days(started, used, packages).values())

    def _days(self, started: datetime, used: timedelta, packages: Sequence[Package]) -> Counter[int]:
        """What each local day's intervals cost: those that began on it."""
        days: Counter[int] = Counter()
        at = self.covered(packages)
        while at < used:
            days[(started + at).astimezone(ZONE).toordinal()] += self.interval
            at += self.length
        return days

    def may_be_kept_for_good(self, started: datetime, used: timedelta, packages: Sequence[Package]) -> bool:
        """By then it is lost, or nothing could be added to its price any more."""
        at_once_after = timedelta(microseconds=1)
        return self.is_lost(used, packages) or self.cost(started, used + at_once_after, packages) >= self.cap


def used(started: datetime, ended: datetime, pauses: Sequence[Pause]) -> timedelta:
    """Time with the bank that no pause covers."""
    total, done = ended - started, started
    for begin, end in sorted(pauses, key=lambda pause: pause[0]):
        begins, ends = max(begin, done), min(end or FOREVER, ended)
        if ends > begins:
            total -= ends - begins
            done = ends
    return max(total, NOTHING)
