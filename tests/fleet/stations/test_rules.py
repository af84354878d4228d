"""Health of slots and banks, without a database."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from firmware_protocol.types import SlotFaultKind
from fleet.stations.models import HealthKind
from fleet.stations.rules import (
    BankReading,
    ChargePoint,
    HealthPolicy,
    Incident,
    after_incident,
    after_success,
    bank_fault,
    bank_score,
    charge_curve,
    jammed_too_often,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
POLICY = HealthPolicy()


def test_every_fault_of_a_cabinet_is_an_incident_and_every_incident_is_kept() -> None:
    assert {kind.value for kind in SlotFaultKind} <= {incident.value for incident in Incident}
    assert {incident.value for incident in Incident} <= {kind.value for kind in HealthKind}


def test_scores_stay_between_0_and_100() -> None:
    score = 100
    for incident in (Incident.JAM, Incident.CHARGE, Incident.FAILED_EJECT, Incident.NOT_TAKEN):
        score = after_incident(score, incident)
    assert score == 40
    assert after_incident(score, Incident.SHORT) == 0
    assert (after_success(score), after_success(95)) == (50, 100)


@pytest.mark.parametrize(
    ("hours", "too_often"),
    [
        ([0, 1, 2], True),
        ([0, 1], False),
        ([0, 23.9, 48], False),
        ([0, 30, 31, 53.9], True),  # any window, not only the newest
        ([0, 0.01, 0.012, 1], False),  # a jam and the eject that failed for it are one
    ],
)
def test_jams_count_in_any_window_and_order(hours: list[float], too_often: bool) -> None:
    times = [NOW + hour * HOUR for hour in hours]
    Random(1).shuffle(times)
    assert jammed_too_often(times, POLICY) is too_often


def reading(**values: float) -> BankReading:
    return BankReading(**{"sampled_at": NOW - MINUTE, **values})  # type: ignore[arg-type]  # of the tests


@pytest.mark.parametrize(
    ("bank", "reason"),
    [
        (reading(), None),
        (reading(temperature_c=54.9, health_pct=60, cycles=900), None),
        (reading(temperature_c=55.0), "hot: 55.0 °C"),
        (BankReading(temperature_c=70.0, sampled_at=NOW - HOUR), None),  # that was an hour ago
        (BankReading(temperature_c=70.0), None),
        (reading(health_pct=59), "worn: 59 % of its capacity left"),
        (reading(health_pct=59, judged_pct=59), None),  # an operator has released it
        (reading(health_pct=58, judged_pct=59), "worn: 58 % of its capacity left"),
    ],
)
def test_which_banks_are_kept_from_riders(bank: BankReading, reason: str | None) -> None:
    assert bank_fault(bank, POLICY, NOW) == reason


def test_the_score_of_a_bank() -> None:
    assert bank_score(reading(), POLICY) == 100
    assert bank_score(reading(health_pct=80, cycles=600, temperature_c=45.0), POLICY) == 70
    assert bank_score(reading(health_pct=1, cycles=9000, temperature_c=90.0), POLICY) == 0


def curve(*charges: float, every: timedelta = HOUR) -> list[ChargePoint]:
    return [ChargePoint(NOW + n * every, charge) for n, charge in enumerate(charges)]


def test_the_charge_curve() -> None:
    healthy = charge_curve(curve(20, 50, 80, 100, 100))
    assert healthy.pct_per_hour == pytest.approx(80 / 3)
    assert not healthy.stuck  # full is not stuck
    assert charge_curve(curve(20, 40, 41, 41, 41, 40)).stuck
    assert not charge_curve(curve(20, 20, 20)).stuck  # not long enough to tell
    assert not charge_curve(curve(20, 30, 40, 50, 60)).stuck
    assert charge_curve([]) == charge_curve(curve(50))
