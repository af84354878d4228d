from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.common.money import Money, minor_digits, rounded

amounts = st.integers(-(10**12), 10**12)


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(1234, "EUR"), "12.34 EUR"),
        (Money(5, "EUR"), "0.05 EUR"),
        (Money(-5, "EUR"), "-0.05 EUR"),
        (Money(-1234, "EUR"), "-12.34 EUR"),
        (Money(1234, "JPY"), "1234 JPY"),
        (Money(1234, "KWD"), "1.234 KWD"),
        (Money(0, "USD"), "0.00 USD"),
    ],
)
def test_money_is_written_with_its_currencys_digits(money: Money, text: str) -> None:
    assert str(money) == text


@pytest.mark.parametrize("currency", ["", "eur", "EU", "EURO", "E1r"])
def test_a_currency_is_an_iso_code(currency: str) -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        Money(1, currency)


@given(amounts, amounts)
def test_adding_and_taking_away_are_exact(left: int, right: int) -> None:
    total = Money(left, "EUR") + Money(right, "EUR")
    assert total.amount_minor == left + right
    assert total - Money(right, "EUR") == Money(left, "EUR")


def test_currencies_do_not_add() -> None:
    with pytest.raises(ValueError, match="do not add"):
        Money(1, "EUR") + Money(1, "USD")
    with pytest.raises(ValueError, match="do not add"):
        Money(1, "EUR") - Money(1, "USD")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.5", 1), ("0.49", 0), ("-0.5", -1), ("-0.49", 0), ("1.5", 2), ("2.5", 3), ("-2.5", -3), ("7", 7)],
)
def test_a_half_goes_away_from_zero(value: str, expected: int) -> None:
    assert rounded(*Fraction(value).as_integer_ratio()) == expected


@given(st.fractions())
def test_rounding_is_to_the_nearest_and_the_same_on_both_sides_of_zero(value: Fraction) -> None:
    found = rounded(*value.as_integer_ratio())
    assert abs(found - value) <= Fraction(1, 2)
    assert rounded(*(-value).as_integer_ratio()) == -found


def test_minor_units_differ() -> None:
    assert [minor_digits(currency) for currency in ("EUR", "JPY", "TND")] == [2, 0, 3]
