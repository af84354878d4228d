from collections import Counter
from datetime import timedelta
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from fleet.users.rules import PER_DESTINATION, SendLimit, as_code, wait_before_next
from tests.fleet.users.conftest import NOW

MINUTE = timedelta(minutes=1)
TWO_A_MINUTE = (SendLimit(2, MINUTE),)


def test_the_first_goes_at_once() -> None:
    assert wait_before_next([], PER_DESTINATION, NOW) == timedelta(0)


def test_one_waits_until_the_oldest_that_counts_is_old_enough() -> None:
    sent = [NOW - timedelta(seconds=age) for age in (10, 50, 70)]
    assert wait_before_next(sent, TWO_A_MINUTE, NOW) == timedelta(seconds=10)


def test_the_strictest_limit_decides() -> None:
    sent = [NOW - timedelta(minutes=10 * age) for age in range(1, 6)]
    assert wait_before_next(sent, PER_DESTINATION, NOW) == timedelta(minutes=10)


@given(st.lists(st.integers(0, 100_000), max_size=30))
def test_who_waits_as_told_is_never_told_to_wait_again(ages: list[int]) -> None:
    sent = [NOW - timedelta(seconds=age) for age in ages]
    later = NOW + wait_before_next(sent, PER_DESTINATION, NOW)
    assert wait_before_next(sent, PER_DESTINATION, later) == timedelta(0)


@given(st.binary(min_size=16, max_size=64))
def test_codes_have_six_digits(digest: bytes) -> None:
    code = as_code(digest)
    assert len(code) == 6
    assert code.isdigit()


def test_codes_are_spread_evenly() -> None:
    first_digits = Counter(as_code(sha256(str(number).encode()).digest())[0] for number in range(20_000))
    assert len(first_digits) == 10
    assert all(1800 < count < 2200 for count in first_digits.values())
