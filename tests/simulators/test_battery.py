import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.battery import PowerBank, charged, open_circuit_mv

HOUR_MS = 3_600_000
RATE = 0.4 / 36


def bank(charge: float, health_pct: int = 100) -> PowerBank:
    return PowerBank(serial="PB1", charge=charge, cycles=10.0, health_pct=health_pct, capacity_mah=5000, as_of_ms=0)


@given(st.floats(0, 100), st.floats(0, 50_000), st.floats(0, 50_000))
def test_charging_in_two_steps_is_charging_in_one(charge: float, first_s: float, second_s: float) -> None:
    at_once = charged(charge, first_s + second_s, RATE)
    in_steps = charged(charged(charge, first_s, RATE), second_s, RATE)
    assert in_steps == pytest.approx(at_once, abs=1.01)  # full is reached at the cut-off, one point below 100
    assert charge <= in_steps <= 100


def test_constant_current_first_then_a_taper_to_full() -> None:
    item = bank(20)
    currents = []
    for quarter in range(24):
        item.charge_until(quarter * HOUR_MS // 4)
        currents.append(item.read(22).current_ma)
    assert currents[0] == 2000
    assert currents == sorted(currents, reverse=True)
    assert currents[-1] == 0
    assert item.charge_pct == 100
    assert item.cycles == pytest.approx(10.8)


def test_two_amperes_fill_forty_percent_an_hour() -> None:
    item = bank(20)
    item.charge_until(HOUR_MS)
    assert item.charge == pytest.approx(60)


def test_voltage_rises_with_charge_and_falls_back_when_the_current_stops() -> None:
    readings = [bank(charge).read(22) for charge in range(0, 100, 5)]
    assert [r.voltage_mv for r in readings[:16]] == sorted(r.voltage_mv for r in readings[:16])
    assert bank(100).read(22).voltage_mv == int(open_circuit_mv(100)) == 4180
    assert bank(50).read(22).temperature_c > bank(100).read(22).temperature_c == 22


def test_a_phone_empties_it_and_stops_before_nothing_is_left() -> None:
    item = bank(90)
    item.use_until(HOUR_MS // 2)
    assert item.charge == pytest.approx(65)
    item.use_until(24 * HOUR_MS)
    assert item.charge == 3


def test_time_does_not_run_backwards() -> None:
    item = bank(50)
    item.charge_until(HOUR_MS)
    charge = item.charge
    item.charge_until(0)
    assert (item.charge, item.as_of_ms) == (charge, HOUR_MS)
