"""Tariffs, times and adjustments of every kind, for the properties of a price."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from fleet.rentals.pricing.adjustments import Adjustment, AdjustmentKind, Effect, Part
from fleet.rentals.pricing.terms import LateTerms, Multiplier, Prepaid, TariffTerms, TaxTerms

#: Two, no and three digits after the point.
CURRENCIES = ("EUR", "CHF", "JPY", "KRW", "KWD", "TND")
#: Clocks that change at midnight, by half an hour, on other days than Europe's, and not at all.
ZONES = (
    "UTC", "Europe/Zurich", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "Asia/Beirut", "Africa/Cairo",
)  # fmt: skip
#: An hour that is skipped or repeated, in Zürich, Beirut (at midnight), Lord Howe (half of one), and a day that never
#: was (Samoa); each is a little before the change.
CHANGES = (
    ("Europe/Zurich", datetime(2026, 3, 28, 20, tzinfo=UTC)),
    ("Europe/Zurich", datetime(2026, 10, 24, 20, tzinfo=UTC)),
    ("Asia/Beirut", datetime(2026, 3, 28, 16, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 10, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 2, tzinfo=UTC)),
)

amounts = st.integers(0, 5_000)
multipliers = st.lists(
    st.builds(
        Multiplier,
        weekdays=st.lists(st.integers(1, 7), min_size=1, max_size=7, unique=True).map(tuple),
        from_hour=st.integers(0, 11),
        to_hour=st.integers(12, 24),
        basis_points=st.integers(0, 40_000),
    ),
    max_size=3,
).map(tuple)
late_terms = st.one_of(
    st.just(LateTerms()),
    st.builds(
        LateTerms,
        multiplier_bp=st.integers(10_000, 40_000),
        hourly_minor=amounts,
        grace=st.sampled_from([timedelta(0), timedelta(minutes=2), timedelta(hours=30)]),
        daily_cap_minor=amounts,
    ),
)
taxes = st.builds(TaxTerms, name=st.just("VAT"), basis_points=st.integers(0, 3_000), inclusive=st.booleans())
any_terms = st.builds(
    TariffTerms,
    currency=st.sampled_from(CURRENCIES),
    unlock_minor=amounts,
    free_period=st.integers(0, 3600).map(lambda seconds: timedelta(seconds=seconds)),
    interval_minor=amounts,
    interval_length=st.integers(60, 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    daily_cap_minor=amounts,
    total_cap_minor=amounts,
    hold_minor=amounts,
    overdue_after=st.timedeltas(timedelta(hours=1), timedelta(days=4)),
    buyout_after=st.none() | st.timedeltas(timedelta(days=4), timedelta(days=9)),
    multipliers=multipliers,
    rounding_step_minor=st.sampled_from([1, 5, 10, 100]),
    late=late_terms,
    tax=taxes,
)
starts = st.one_of(
    st.tuples(
        st.sampled_from(ZONES),
        st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001  # the strategy adds the zone
    ),
    st.sampled_from(CHANGES),
)
durations = st.timedeltas(timedelta(0), timedelta(days=12))
pauses = st.lists(st.tuples(durations, st.timedeltas(timedelta(0), timedelta(days=2))), max_size=3)
prepaid = st.lists(
    st.builds(
        Prepaid,
        name=st.just("4 hours"),
        duration=st.timedeltas(timedelta(minutes=1), timedelta(days=1)),
        price_minor=amounts,
    ),
    max_size=2,
).map(tuple)
_percents = st.builds(
    Adjustment,
    kind=st.sampled_from(AdjustmentKind),
    effect=st.just(Effect.PERCENT),
    value=st.integers(-10_000, 3_000),
    text=st.just("percent"),
    part=st.sampled_from(Part),
    at_most_minor=st.none() | amounts,
)
_others = st.builds(
    Adjustment,
    kind=st.sampled_from(AdjustmentKind),
    effect=st.sampled_from([Effect.AMOUNT, Effect.FREE_TIME]),
    value=st.integers(0, 8_000),
    text=st.just("other"),
    part=st.sampled_from(Part),
)
_amounts_off = st.builds(
    Adjustment,
    kind=st.sampled_from(AdjustmentKind),
    effect=st.just(Effect.AMOUNT),
    value=st.integers(-3_000, 0),
    text=st.just("amount off"),
    part=st.sampled_from(Part),
)
adjustments = st.lists(st.one_of(_percents, _others, _amounts_off), max_size=4)


def ranges(started: datetime, given: list[tuple[timedelta, timedelta]]) -> list[tuple[datetime, datetime]]:
    return [(started + begin, started + begin + length) for begin, length in given]
