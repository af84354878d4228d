"""Old events leave the inbox, and what came once still counts for it."""

from datetime import datetime, timedelta

import pytest

from device_gateway.received import Received
from firmware_protocol.messages import JournalLost
from fleet.db import session_scope
from fleet.devices import dead_letters, forgetting
from tests.databases import Database
from tests.device_gateway.support import NOON, Bench, add_station, booted, insert, up

DAY = timedelta(days=1)
KEPT = timedelta(days=120)


@pytest.fixture
def bench(clean_database: Database) -> Bench:
    add_station(clean_database.engine, "A")
    return Bench(clean_database.engine)


def came(received: Received, at: datetime) -> Received:
    return received._replace(at=at.timestamp())


def forget(bench: Bench, now: datetime) -> int:
    """As the job does it."""
    forgotten = after = 0
    while True:
        with session_scope(bench.engine) as session:
            stations = forgetting.due(session, now - KEPT, after=after)
            if not stations:
                return forgotten
            forgotten += forgetting.forget(session, stations, now - KEPT, now)
            after = stations[-1]


def kept(bench: Bench) -> list[tuple[int, int]]:
    return [(boot, seq) for boot, seq in bench.rows("SELECT boot, seq FROM device_event ORDER BY 1, 2")]


def test_what_is_old_goes_and_its_repetition_still_counts_for_one(bench: Bench) -> None:
    add_station(bench.engine, "B")
    old = [insert("A", 1), insert("A", 2), insert("B", 1)]
    bench.take(*(came(each, NOON) for each in old))
    bench.now = NOON + 2 * DAY
    bench.take(came(insert("A", 3), bench.now))
    assert forget(bench, NOON + KEPT) == 0
    assert forget(bench, NOON + KEPT + DAY) == 3
    assert kept(bench) == [(1, 3)]
    again = bench.take(*(came(each, bench.now) for each in (*old, insert("A", 4))))
    assert again.tally.duplicates["power_bank_inserted"] == 3
    assert bench.facts.order[-1] == ("A", 1, 4)
    assert again.outbound.acks == {("A", 1): 4, ("B", 1): 1}


def test_what_waits_for_its_turn_stays(bench: Bench) -> None:
    bench.take(*(came(insert("A", seq), NOON) for seq in (1, 3)))
    assert forget(bench, NOON + KEPT + DAY) == 1
    assert kept(bench) == [(1, 3)]
    bench.take(insert("A", 2))
    assert bench.facts.order == [("A", 1, 1), ("A", 1, 2), ("A", 1, 3)]


def test_what_was_found_after_it_was_declared_lost_stays_while_its_boot_runs(bench: Bench) -> None:
    lost = up("A", 0, JournalLost(boot=1, first=2, last=3))
    bench.take(*(came(each, NOON) for each in (insert("A", 1), insert("A", 4), lost, insert("A", 3))))
    assert forget(bench, NOON + KEPT + DAY) == 2
    assert kept(bench) == [(1, 3)], "only its row tells that it came"
    assert bench.take(insert("A", 3)).tally.duplicates["power_bank_inserted"] == 1
    assert bench.take(insert("A", 2)).tally.late == 1


def test_a_boot_that_ended_long_ago_counts_as_told(bench: Bench) -> None:
    bench.take(*(came(each, NOON) for each in (booted("A", 1), insert("A", 1), insert("A", 3))))
    bench.take(came(booted("A", 2, boot=2), NOON), came(insert("A", 1, boot=2), NOON))
    assert bench.facts.order == [("A", 1, 1), ("A", 1, 3), ("A", 2, 1)]
    forget(bench, NOON + KEPT + DAY)
    assert kept(bench) == []
    late = bench.take(insert("A", 2), insert("A", 3), insert("A", 2, boot=2))
    assert late.tally.duplicates["power_bank_inserted"] == 2
    assert bench.facts.order[-1] == ("A", 2, 2)


def test_what_could_not_be_applied_stays_as_long_as_its_dead_letter(bench: Bench) -> None:
    bench.facts.refuse = lambda fact: ValueError("not now") if fact.seq == 1 else None
    bench.take(*(came(insert("A", seq), NOON) for seq in (1, 2)))
    soon = timedelta(days=10)
    with session_scope(bench.engine) as session:
        (station,) = forgetting.due(session, NOON + soon)
        assert forgetting.forget(session, [station], NOON + soon, NOON + soon) == 1
    assert kept(bench) == [(1, 1)]
    long_after = NOON + dead_letters.KEPT + soon
    with session_scope(bench.engine) as session:
        assert forgetting.forget(session, [station], long_after, long_after) == 1


def test_a_run_takes_so_many_of_a_station_and_the_next_one_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "OF_EACH", 2)
    bench.take(*(came(insert("A", seq), NOON) for seq in range(1, 6)))
    assert [forget(bench, NOON + KEPT + DAY) for _ in range(4)] == [2, 2, 1, 0]
