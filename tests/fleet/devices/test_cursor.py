"""The order of events as arithmetic: whatever the order of arrival, the order of application is one."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from fleet.devices.cursor import (
    Cursor,
    declare_journal,
    follow_acked,
    give_up,
    missing,
    release,
    take_ready,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def deliver(cursors: list[Cursor], arrivals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """One at a time, as a gateway does; returns the order of application."""
    waiting: dict[int, set[int]] = {cursor.boot: set() for cursor in cursors}
    applied: list[tuple[int, int]] = []
    for boot, seq in arrivals:
        if (boot, seq) in applied or seq in waiting[boot]:
            continue
        waiting[boot].add(seq)
        cursor = next(each for each in cursors if each.boot == boot)
        cursor.seen = max(cursor.seen, seq)
        applied += release([each for each in cursors if each.closed_at is None], waiting, NOW)
    return applied


@given(st.lists(st.integers(1, 30), min_size=1).flatmap(lambda seqs: st.permutations([*range(1, 31), *seqs])))
def test_any_order_with_repetitions_is_applied_in_order_once(arrivals: list[int]) -> None:
    cursor = Cursor(1, 1)
    assert deliver([cursor], [(1, seq) for seq in arrivals]) == [(1, seq) for seq in range(1, 31)]
    assert (cursor.applied, cursor.gap_since) == (30, None)


@given(st.permutations([(1, seq) for seq in range(1, 8)] + [(2, seq) for seq in range(1, 8)]))
def test_an_earlier_boot_comes_first(arrivals: list[tuple[int, int]]) -> None:
    cursors = [Cursor(1, 1, last_seq=7), Cursor(1, 2)]
    expected = [(1, seq) for seq in range(1, 8)] + [(2, seq) for seq in range(1, 8)]
    assert deliver(cursors, list(arrivals)) == expected
    assert cursors[0].closed_at == NOW


@given(st.permutations(range(1, 21)), st.sets(st.integers(1, 20), min_size=1))
def test_what_is_lost_is_stepped_over(arrivals: list[int], lost: set[int]) -> None:
    cursor = Cursor(1, 1)
    for seq in lost:
        cursor.declare_lost(seq, seq)
    came = [seq for seq in arrivals if seq not in lost]
    assert deliver([cursor], [(1, seq) for seq in came]) == [(1, seq) for seq in sorted(came)]


def test_a_declared_loss_that_arrived_after_all_is_applied() -> None:
    cursor = Cursor(1, 1)
    cursor.declare_lost(2, 4)
    assert take_ready(cursor, {1, 3, 5}) == [1, 3, 5]


def test_an_event_behind_a_gap_waits_since_the_last_progress() -> None:
    cursor = Cursor(1, 1, applied=4, gap_since=datetime(2026, 11, 23, 11, tzinfo=UTC))
    waiting = {1: {6, 7}}
    assert release([cursor], waiting, NOW) == []
    assert cursor.gap_since == datetime(2026, 11, 23, 11, tzinfo=UTC)
    waiting[1].add(5)
    waiting[1].add(9)
    assert release([cursor], waiting, NOW) == [(1, 5), (1, 6), (1, 7)]
    assert cursor.gap_since == NOW


def test_giving_up_goes_on_with_the_next_stored_event() -> None:
    cursor = Cursor(1, 1, applied=4, seen=9)
    waiting = {1: {7, 9}}
    give_up(cursor, waiting[1])
    assert release([cursor], waiting, NOW) == [(1, 7)]
    give_up(cursor, waiting[1])
    assert release([cursor], waiting, NOW) == [(1, 9)]


def test_an_earlier_boot_that_never_completes_is_given_up_and_closed() -> None:
    first, second = Cursor(1, 1, applied=3, seen=3), Cursor(1, 2)
    waiting: dict[int, set[int]] = {1: set(), 2: {1}}
    assert release([first, second], waiting, NOW) == []
    assert first.gap_since == NOW
    give_up(first, waiting[1])
    assert release([first, second], waiting, NOW) == [(2, 1)]
    assert first.closed_at == NOW


def test_missing_names_the_holes_only() -> None:
    cursor = Cursor(1, 1, applied=2, last_seq=12)
    cursor.declare_lost(4, 5)
    assert missing(cursor, {7, 9}, 32) == [(3, 3), (6, 6), (8, 8), (10, 12)]
    assert missing(cursor, {7, 9}, 2) == [(3, 3), (6, 6)]
    assert missing(Cursor(1, 1, applied=2), set(), 32) == []


def test_acknowledged_is_what_is_stored_without_a_hole() -> None:
    cursor = Cursor(1, 1, acked=2, applied=8, seen=8)
    follow_acked(cursor, [3, 5, 6, 8])
    assert cursor.acked == 3
    cursor.declare_lost(4, 4)
    follow_acked(cursor, [5, 6, 8])
    assert cursor.acked == 6
    follow_acked(cursor, [7, 8])
    assert cursor.acked == 8


@given(st.sets(st.integers(1, 40)), st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=4))
def test_acknowledged_never_covers_a_hole(stored: set[int], losses: list[tuple[int, int]]) -> None:
    cursor = Cursor(1, 1)
    for first, more in losses:
        cursor.declare_lost(first, first + more)
    follow_acked(cursor, sorted(stored))
    assert all(seq in stored or cursor.is_lost(seq) for seq in range(1, cursor.acked + 1))
    assert cursor.acked + 1 not in stored
    assert not cursor.is_lost(cursor.acked + 1)


def test_a_journal_tells_what_will_never_come() -> None:
    old = Cursor(1, 1, acked=3, applied=3, seen=8)
    declare_journal(old, [(5, 6), (9, 10)], current=False)
    assert old.last_seq == 10
    assert old.lost == [[4, 4], [7, 8]]
    unlisted = Cursor(1, 1, acked=3, applied=3, seen=8)
    declare_journal(unlisted, [], current=False)
    assert (unlisted.last_seq, unlisted.lost) == (8, [[4, 8]])
    current = Cursor(1, 2, acked=3, applied=3, seen=3)
    declare_journal(current, [(6, 9)], current=True)
    assert (current.last_seq, current.lost) == (None, [[4, 5]])


def test_the_clock_is_measured_by_the_message_that_waited_least() -> None:
    cursor = Cursor(1, 1)
    for at_ms, received_ms in ((1_000, 6_000), (2_000, 5_500), (3_000, 9_000), (None, 1)):
        cursor.observe_clock(at_ms, received_ms)
    assert cursor.offset_ms == 3_500
    cursor.observe_clock(0, 10_000_000)
    assert cursor.offset_ms == 10_000_000
