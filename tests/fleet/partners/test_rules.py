from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.common.errors import IllegalTransition
from fleet.partners.models import PayoutState, ShareKind
from fleet.partners.rules import PAYOUT_MOVES, Division, Takings, Terms, apportion, check_payout, divide

PERCENT, FIXED = ShareKind.PERCENT, ShareKind.FIXED


def test_net_is_gross_without_tax_and_service_charge() -> None:
    """13 % tax on top of 1000 and 2.5 % of the gross for the house, as the usual agreement has it."""
    found = divide(Takings(paid=1130, refunded=0, price=1130, tax=130), 250, [Terms(PERCENT, 3000)])
    assert found == Division(gross=1130, tax=130, service_charge=28, net=972, parts=(292,), house=680)


def test_a_vendor_is_paid_out_of_its_franchises_share() -> None:
    takings = Takings(paid=1000, refunded=0, price=1000, tax=0)
    assert divide(takings, 0, [Terms(PERCENT, 1000), Terms(PERCENT, 3000)]).parts == (100, 200)
    # A franchise cannot promise more than it has: the house's part stays what it is.
    greedy = divide(takings, 0, [Terms(PERCENT, 9000), Terms(PERCENT, 3000)])
    assert (greedy.parts, greedy.house) == ((300, 0), 700)


def test_a_fixed_amount_goes_as_far_as_the_net() -> None:
    assert divide(Takings(1000, 0, 1000, 0), 0, [Terms(FIXED, 150)]).parts == (150,)
    assert divide(Takings(100, 0, 100, 0), 0, [Terms(FIXED, 150)]).parts == (100,)


@pytest.mark.parametrize("terms", [Terms(PERCENT, 3000), Terms(FIXED, 300)])
def test_a_refund_of_half_takes_back_half_of_the_share(terms: Terms) -> None:
    assert divide(Takings(1000, 500, 1000, 0), 0, [terms]).parts == (150,)
    assert divide(Takings(1000, 1000, 1000, 0), 0, [terms]).parts == (0,)


def test_what_is_paid_later_is_shared_later() -> None:
    """Half of the price was due: half of its tax and of the share."""
    found = divide(Takings(paid=565, refunded=0, price=1130, tax=130), 0, [Terms(PERCENT, 5000)])
    assert (found.tax, found.net, found.parts) == (65, 500, (250,))


terms = st.builds(Terms, st.just(PERCENT), st.integers(0, 10_000)) | st.builds(
    Terms, st.just(FIXED), st.integers(1, 10**6)
)


@given(
    paid=st.integers(0, 10**7),
    back=st.fractions(0, 1),
    tax_bp=st.integers(0, 10_000),
    service=st.integers(0, 10_000),
    parties=st.lists(terms, max_size=2),
)
def test_the_parts_are_the_whole_to_the_last_cent(
    paid: int, back: Fraction, tax_bp: int, service: int, parties: list[Terms]
) -> None:
    takings = Takings(paid, int(paid * back), paid, paid * tax_bp // (10_000 + tax_bp))
    found = divide(takings, service, parties)
    assert found.gross == found.tax + found.service_charge + found.net
    assert found.net == sum(found.parts) + found.house
    assert min((found.tax, found.service_charge, found.net, found.house, *found.parts)) >= 0


@given(st.integers(0, 10**9), st.lists(st.integers(1, 1000), min_size=1, max_size=6))
def test_largest_remainder_is_never_a_unit_away(total: int, sizes: list[int]) -> None:
    weights = [Fraction(size, sum(sizes)) for size in sizes]
    found = apportion(total, weights)
    assert sum(found) == total
    assert all(abs(part - total * weight) < 1 for part, weight in zip(found, weights, strict=True))


def test_of_equal_remainders_the_first_one_wins() -> None:
    assert apportion(1, [Fraction(1, 2), Fraction(1, 2)]) == [1, 0]


@pytest.mark.parametrize("state", PayoutState)
@pytest.mark.parametrize("wanted", PayoutState)
def test_payouts_go_on_by_the_table(state: PayoutState, wanted: PayoutState) -> None:
    if wanted in PAYOUT_MOVES[state]:
        check_payout(state, wanted)
    else:
        with pytest.raises(IllegalTransition):
            check_payout(state, wanted)
