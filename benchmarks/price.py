"""`python -m benchmarks.price`: prices a second on one core, with all their lines, and when a total cap is reached."""

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from benchmarks.machine import python_loops_per_s
from benchmarks.results import Report, save, show
from fleet.rentals.pricing.adjustments import Adjustment, AdjustmentKind, Effect
from fleet.rentals.pricing.gross import cap_reached_at
from fleet.rentals.pricing.price import price
from fleet.rentals.pricing.terms import LateTerms, Multiplier, TariffTerms, TaxTerms

_ZONE: Final = "Europe/Zurich"
_FROM: Final = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN: Final = TariffTerms(
    currency="EUR",
    unlock_minor=100,
    free_period=timedelta(minutes=5),
    interval_minor=50,
    interval_length=timedelta(minutes=30),
    daily_cap_minor=900,
    total_cap_minor=9000,
    hold_minor=500,
    overdue_after=timedelta(days=1),
)
EVERYTHING: Final = TariffTerms(
    currency="EUR",
    unlock_minor=100,
    free_period=timedelta(minutes=5),
    interval_minor=50,
    interval_length=timedelta(minutes=30),
    daily_cap_minor=900,
    total_cap_minor=9000,
    hold_minor=500,
    overdue_after=timedelta(days=1),
    multipliers=(Multiplier((6, 7), 18, 24, 15_000), Multiplier((1, 2, 3, 4, 5), 7, 9, 12_000)),
    rounding_step_minor=5,
    late=LateTerms(20_000, 50, daily_cap_minor=500),
    tax=TaxTerms("VAT", 2_000, inclusive=False),
)
_GRANTED: Final = (
    Adjustment(AdjustmentKind.SUBSCRIPTION, Effect.FREE_TIME, 1800, "Half an hour free"),
    Adjustment(AdjustmentKind.COUPON, Effect.PERCENT, -1_000, "10 % off"),
)


def per_second(work: Callable[[datetime], object], seconds: float) -> float:
    """Calls a second, each with another start of the year."""
    random = Random(7)
    starts = [_FROM + timedelta(seconds=random.randrange(365 * 86_400)) for _ in range(1000)]
    for started in starts[:100]:
        work(started)  # the first ones read time zones
    count, ends = 0, (began := time.process_time()) + seconds
    while time.process_time() < ends:
        for started in starts[:100]:
            work(started)
        count += 100
        starts = starts[100:] + starts[:100]
    return count / (time.process_time() - began)


def _priced(
    terms: TariffTerms, length: timedelta, granted: tuple[Adjustment, ...] = ()
) -> Callable[[datetime], object]:
    def work(started: datetime) -> object:
        return price(terms, started, started + length, (), _ZONE, adjustments=granted)

    return work


def run(*, quick: bool) -> Report:
    seconds = 0.05 if quick else 2.0
    report = Report("price", "the price function, per second of one core's time", quick)
    report.add("Python, one core", python_loops_per_s(), "M additions/s")
    for name, work in (
        ("an hour, plain tariff", _priced(PLAIN, timedelta(hours=1))),
        ("three days, plain tariff", _priced(PLAIN, timedelta(days=3))),
        ("an hour, every rule", _priced(EVERYTHING, timedelta(hours=1), _GRANTED)),
        ("three days, every rule, late", _priced(EVERYTHING, timedelta(days=3), _GRANTED)),
        ("when the total cap is reached, every rule", lambda started: cap_reached_at(EVERYTHING, started, _ZONE)),
    ):
        report.add(name, per_second(work, seconds), "/s")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.price", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
