import itertools
from datetime import datetime, timedelta
from uuid import UUID

import pytest

from fleet.common.errors import IllegalTransition
from fleet.devices.firmware import rules
from fleet.devices.firmware.models import RolloutState, TargetState
from fleet.devices.firmware.rules import Action


def test_what_the_tables_do_not_hold_is_refused_and_names_both_states() -> None:
    for state, action in itertools.product(RolloutState, Action):
        if (state, action) not in rules.ACTIONS:
            with pytest.raises(IllegalTransition) as refused:
                rules.after(state, action)
            assert {state, action} <= set(refused.value.attributes.values())
    for current, wanted in itertools.product(TargetState, TargetState):
        if wanted not in rules.TARGET_TRANSITIONS[current]:
            with pytest.raises(IllegalTransition):
                rules.check_target(current, wanted)
    with pytest.raises(IllegalTransition):
        rules.check(RolloutState.DRAFT, RolloutState.HALTED)


def test_the_end_is_the_end() -> None:
    assert not any(state in {RolloutState.COMPLETED, RolloutState.ABORTED} for state, _ in rules.ACTIONS)
    assert set(rules.TARGET_TRANSITIONS) == set(TargetState)
    assert set(rules.TRANSITIONS) == set(RolloutState)


@pytest.mark.parametrize(
    ("failed", "forgiven", "size", "pct", "too_many"),
    [(1, 0, 6, 20, False), (1, 0, 6, 16, True), (2, 1, 6, 16, True), (2, 2, 6, 0, False), (1, 0, 10, 10, False),
     (1, 0, 1000, 0, True), (6, 0, 6, 100, False)],
)  # fmt: skip
def test_halting_is_about_a_share_of_the_group(
    failed: int, forgiven: int, size: int, pct: int, *, too_many: bool
) -> None:
    assert rules.too_many_failed(failed=failed, forgiven=forgiven, size=size, failure_pct=pct) is too_many


def test_the_rate_holds_and_lost_time_is_not_made_up_for(now: datetime) -> None:
    told, following = 0, now
    for tick in range(61):
        due, following = rules.offers_due(following, 30, now + timedelta(seconds=tick))
        told += due
    assert told == 31
    assert rules.offers_due(following, 30, now + timedelta(hours=1))[0] <= 2
    assert rules.offers_due(now + timedelta(seconds=1), 30, now) == (0, now + timedelta(seconds=1))


def test_the_draw_is_the_same_whenever_it_is_asked() -> None:
    one, other = UUID(int=1), UUID(int=2)
    order = sorted(range(100), key=lambda station: rules.lot(one, station))
    assert order == sorted(range(100), key=lambda station: rules.lot(one, station))
    assert order != sorted(range(100), key=lambda station: rules.lot(other, station))
