from datetime import timedelta

import pytest

from firmware_protocol.limits import MAX_CONFIG_KEYS
from fleet.devices.configuration.errors import InvalidConfig
from fleet.devices.configuration.rules import (
    MAX_LAYER_KEYS,
    RETRY_LONGEST,
    Difference,
    Standing,
    check_values,
    desired_after,
    differences,
    merge,
    standing,
    wait_after,
)


def test_the_narrowest_layer_wins_key_by_key() -> None:
    layers: list[dict[str, object]] = [
        {"volume_pct": 10, "language": "en"},
        {"volume_pct": 20, "night_mode": True},
        {"volume_pct": 30},
    ]
    assert merge(layers) == {"volume_pct": 30, "language": "en", "night_mode": True}


def test_what_nobody_wants_any_more_is_given_back_and_stays_given_back() -> None:
    first = desired_after({}, {"volume_pct": 30, "language": "en"})
    second = desired_after(first, {"volume_pct": 30})
    assert second == {"volume_pct": 30, "language": None}
    assert desired_after(second, {"volume_pct": 30}) == second
    assert desired_after(second, {"language": "de"}) == {"volume_pct": None, "language": "de"}


def test_what_was_given_back_makes_room() -> None:
    before = {f"x_{number}": 1 for number in range(MAX_CONFIG_KEYS)}
    after = desired_after(before, {"volume_pct": 1, "language": "de"})
    assert len(after) == MAX_CONFIG_KEYS
    assert (after["volume_pct"], after["language"]) == (1, "de")


def test_differences_are_those_of_wanted_keys() -> None:
    desired = {"volume_pct": 30, "language": None, "night_mode": True, "x_a": 1.0}
    reported = {"volume_pct": 40, "language": "fr", "night_mode": 1, "x_a": 1, "log_kib": 64}
    assert differences(desired, reported) == [Difference("night_mode", True, 1), Difference("volume_pct", 30, 40)]


@pytest.mark.parametrize(
    ("state", "meant"),
    [
        ((0, 0, None, False, {}), Standing.UNSET),
        ((2, 2, None, False, {"a": 1}), Standing.IN_SYNC),
        ((2, 2, None, True, {"a": 1}), Standing.DRIFTED),
        ((3, 2, None, False, {"a": 1}), Standing.PENDING),
        ((3, 2, 2, False, {"a": 1}), Standing.PENDING),
        ((3, 2, 3, False, {"a": 1}), Standing.REFUSED),
    ],
)
def test_one_word_for_where_a_station_is(
    state: tuple[int, int, int | None, bool, dict[str, int]], meant: Standing
) -> None:
    version, accepted, refused, drifted, desired = state
    found = standing(
        version=version, accepted_version=accepted, refused_version=refused, drifted=drifted, desired=desired
    )
    assert found is meant


def test_a_layer_holds_what_the_catalogue_allows() -> None:
    check_values({"volume_pct": 30, "x_own": "a"})
    with pytest.raises(InvalidConfig) as refused:
        check_values({"volume_pct": 130})
    assert refused.value.attributes["field"] == "values.volume_pct"
    with pytest.raises(InvalidConfig):
        check_values({f"x_{number}": 1 for number in range(MAX_LAYER_KEYS + 1)})


def test_tries_become_rarer() -> None:
    waits = [wait_after(tries) for tries in range(1, 40)]
    assert waits == sorted(waits)
    assert waits[0] == timedelta(seconds=30)
    assert waits[-1] == RETRY_LONGEST
