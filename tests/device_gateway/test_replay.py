from datetime import datetime

import pytest
from sqlalchemy import Engine

from device_gateway.received import Received
from device_gateway.replay import Replayed, replay, replay_requested
from fleet.common.errors import Conflict, NotFound
from fleet.db import session_scope
from fleet.devices import dead_letters
from fleet.settings import Settings
from tests.databases import Database
from tests.device_gateway.support import NOON, Bench, Facts, add_station, booted, insert


@pytest.fixture
def bench(clean_database: Database) -> Bench:
    add_station(clean_database.engine, "A")
    return Bench(clean_database.engine)


def run(engine: Engine, letter: int, facts: Facts, now: datetime = NOON) -> Replayed:
    return replay(engine, letter, facts, Settings(), now)


def letter_of(bench: Bench) -> int:
    return int(bench.one("SELECT max(id) FROM dead_letter"))


def test_a_refused_event_is_applied_once_its_cause_is_mended(bench: Bench) -> None:
    bench.facts.refuse = lambda fact: ValueError("not yet") if fact.seq == 1 else None
    bench.take(insert("A", 1), insert("A", 2))
    letter = letter_of(bench)
    assert run(bench.engine, letter, bench.facts).error == "internal: ValueError: not yet"
    assert bench.rows("SELECT state, replay_error FROM dead_letter") == [("waiting", "internal: ValueError: not yet")]
    assert bench.one("SELECT applied_at IS NULL FROM device_event WHERE seq = 1") is True
    bench.facts.refuse = None
    assert run(bench.engine, letter, bench.facts).error is None
    assert bench.facts.order == [("A", 1, 2), ("A", 1, 1)]
    assert bench.rows("SELECT state, replay_error FROM dead_letter") == [("replayed", None)]
    assert bench.one("SELECT applied_at IS NULL FROM device_event WHERE seq = 1") is False
    with pytest.raises(Conflict):
        run(bench.engine, letter, bench.facts)


def test_a_strangers_event_is_applied_when_its_station_exists(bench: Bench) -> None:
    bench.take(insert("B", 1))
    assert run(bench.engine, letter_of(bench), bench.facts).error == "unknown_station: no station has the code B"
    add_station(bench.engine, "B")
    assert run(bench.engine, letter_of(bench), bench.facts).error is None
    assert bench.facts.order == [("B", 1, 1)]


def test_a_strangers_boot_opens_its_session(bench: Bench) -> None:
    bench.take(booted("B", 1))
    add_station(bench.engine, "B")
    assert run(bench.engine, letter_of(bench), bench.facts).error is None
    assert bench.one("SELECT count(*) FROM device_session") == 1


def test_bytes_that_stay_wrong_stay_waiting(bench: Bench) -> None:
    bench.take(Received("vb/v1/A/up/event", b"{", None, 1, 1, 1, NOON.timestamp()))
    error = run(bench.engine, letter_of(bench), bench.facts).error
    assert error is not None
    assert error.startswith("truncated")
    assert bench.one("SELECT state FROM dead_letter") == "waiting"


def test_another_fact_under_a_number_that_is_taken_stays_refused(bench: Bench) -> None:
    bench.take(insert("A", 1, serial="X"))
    bench.take(insert("A", 1, serial="Y"))
    error = run(bench.engine, letter_of(bench), bench.facts).error
    assert error is not None
    assert error.startswith("contradiction: boot 1, seq 1 is stored already")
    assert bench.rows("SELECT state FROM dead_letter") == [("waiting",)]
    assert len(bench.facts.seen) == 1


def test_an_unknown_letter(bench: Bench) -> None:
    with pytest.raises(NotFound):
        run(bench.engine, 999, bench.facts)


def test_a_requested_letter_is_run_by_a_gateway(bench: Bench) -> None:
    bench.take(insert("B", 1))
    letter = letter_of(bench)
    assert replay_requested(bench.engine, bench.facts, Settings(), NOON) == []
    with session_scope(bench.engine) as session:
        dead_letters.request_replay(session, letter)
    (refused,) = replay_requested(bench.engine, bench.facts, Settings(), NOON)
    assert refused.error is not None
    assert bench.one("SELECT state FROM dead_letter") == "waiting"
    add_station(bench.engine, "B")
    with session_scope(bench.engine) as session:
        dead_letters.request_replay(session, letter)
    assert replay_requested(bench.engine, bench.facts, Settings(), NOON) == [Replayed(letter, None)]
    assert bench.facts.order == [("B", 1, 1)]
    with pytest.raises(Conflict), session_scope(bench.engine) as session:
        dead_letters.request_replay(session, letter)
