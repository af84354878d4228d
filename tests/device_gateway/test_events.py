"""Events into the inbox and on, on a real database."""

from datetime import datetime, timedelta
from random import Random
from threading import Barrier, Thread
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Engine
from sqlalchemy import insert as insert_into
from sqlalchemy.event import listens_for
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.orm import Session

from device_gateway import faults
from device_gateway.received import Received
from firmware_protocol.commands import Resend
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.encoding import Encoding
from firmware_protocol.messages import (
    Inventory,
    JournalLost,
    PowerBankInserted,
    SlotInventory,
    SlotLocked,
    UpFrame,
)
from firmware_protocol.types import SlotState
from fleet.common.prepared import table_of, write_later
from fleet.devices.facts import DeviceFact
from fleet.stations.models import PowerBank, StationSlot
from tests.databases import Database
from tests.device_gateway.support import NOON, Bench, Facts, add_station, as_received, booted, insert, lock, up

TABLES = {
    "inbox": "SELECT station_id, boot, seq, type, raw, applied_at IS NULL FROM device_event ORDER BY 1, 2, 3",
    "streams": """SELECT station_id, boot, acked_through, applied_through, seen_through, gap_since IS NULL
                    FROM device_stream ORDER BY 1, 2""",
    "slots": "SELECT station_id, number, locked, lock_boot, lock_seq FROM station_slot ORDER BY 1, 2",
}


@pytest.fixture
def bench(clean_database: Database) -> Bench:
    add_station(clean_database.engine, "A")
    return Bench(clean_database.engine)


def test_events_in_order_are_applied_and_acknowledged(bench: Bench) -> None:
    done = bench.take(lock("A", 1), insert("A", 2), lock("A", 3, slot=2))
    assert bench.facts.order == [("A", 1, 2)]
    assert done.outbound.acks == {("A", 1): 3}
    assert bench.rows("SELECT number, locked FROM station_slot WHERE locked ORDER BY 1") == [(1, True), (2, True)]


def test_a_repetition_has_no_effect_and_is_acknowledged_again(bench: Bench) -> None:
    first = [insert("A", 1), insert("A", 1), insert("A", 2)]
    assert bench.take(*first).tally.applied["power_bank_inserted"] == 2
    again = bench.take(*first)
    assert bench.facts.order == [("A", 1, 1), ("A", 1, 2)]
    assert again.tally.duplicates["power_bank_inserted"] == 3
    assert again.outbound.acks == {("A", 1): 2}


def test_another_fact_under_a_number_that_is_taken_is_kept_and_changes_nothing(bench: Bench) -> None:
    bench.take(insert("A", 1, serial="X"), insert("A", 1, serial="Y"))
    again = bench.take(insert("A", 1, slot=2, serial="X"), insert("A", 2))
    assert [fact.message.serial for fact in bench.facts.seen if isinstance(fact.message, PowerBankInserted)] == [
        "X",
        "B1-2",
    ]
    assert again.outbound.acks == {("A", 1): 2}
    letters = "SELECT station_code, error_code, error FROM dead_letter ORDER BY id"
    assert (
        bench.rows(letters)
        == [("A", "contradiction", "boot 1, seq 1 is stored already, and tells of something else")] * 2
    )
    assert again.tally.dead["contradiction"] == 1


def test_the_same_fact_in_other_words_is_a_repetition(bench: Bench) -> None:
    frame = UpFrame(station="A", boot=1, seq=1, at_ms=1, message=PowerBankInserted(slot=1, serial="X"))
    bench.take(as_received(frame))
    cbor = NATIVE.publish_up(replace(frame, replayed=True, at_ms=None), Encoding.CBOR)
    bench.take(Received(cbor.topic, cbor.payload, cbor.content_type, 1, 2, 1, NOON.timestamp()))
    assert len(bench.facts.seen) == 1
    assert bench.one("SELECT count(*) FROM dead_letter") == 0


@pytest.mark.parametrize("seed", range(6))
def test_every_message_twice_and_shuffled_gives_identical_tables(clean_database: Database, seed: int) -> None:
    stations = ["A", "B", "C"]
    for code in stations:
        add_station(clean_database.engine, code)
    messages = [
        message
        for code in stations
        for seq in range(1, 25)
        for message in ([lock(code, seq, slot=seq % 4 + 1)] if seq % 3 else [insert(code, seq)]) * 2
    ]
    rng = Random(seed)
    straight = Bench(clean_database.engine)
    straight.take(*sorted(messages, key=lambda m: (m.topic, len(m.payload), m.payload)))
    straight.later(0)
    expected_order = {code: [ref for ref in straight.facts.order if ref[0] == code] for code in stations}
    expected = {name: straight.rows(query) for name, query in TABLES.items()}
    for table in ("device_event", "device_stream"):
        _execute(clean_database.engine, f"DELETE FROM {table}")
    _execute(clean_database.engine, "UPDATE station_slot SET locked = NULL, lock_boot = 0, lock_seq = 0")

    shuffled = Bench(clean_database.engine)
    rng.shuffle(messages)
    while messages:
        size = rng.randint(1, 20)
        shuffled.take(*messages[:size])
        messages = messages[size:]
    assert {name: shuffled.rows(query) for name, query in TABLES.items()} == expected
    for code in stations:
        assert [ref for ref in shuffled.facts.order if ref[0] == code] == expected_order[code]


def _execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def test_an_event_behind_a_gap_waits_and_goes_on_when_it_fills(bench: Bench) -> None:
    assert bench.take(insert("A", 1), insert("A", 3), insert("A", 4)).outbound.acks == {("A", 1): 1}
    assert bench.facts.order == [("A", 1, 1)]
    filled = bench.take(insert("A", 2))
    assert filled.outbound.acks == {("A", 1): 4}
    assert filled.tally.applied["power_bank_inserted"] == 3
    assert bench.facts.order == [("A", 1, seq) for seq in (1, 2, 3, 4)]
    assert bench.one("SELECT count(*) FROM device_event WHERE applied_at IS NULL") == 0


def test_a_gap_is_asked_for_once_and_then_given_up(bench: Bench) -> None:
    bench.take(insert("A", 1), insert("A", 3), insert("A", 6))
    assert bench.later(0.4).outbound.messages == []
    (asked,) = bench.later(0.2).outbound.messages
    resend = NATIVE.decode_control(asked.payload)
    assert asked.topic == "vb/v1/A/down/resend"
    assert isinstance(resend, Resend)
    assert [(each.first, each.last) for each in resend.ranges] == [(2, 2), (4, 5)]
    assert bench.later(1).outbound.messages == []
    assert bench.facts.order == [("A", 1, 1)]
    given_up = bench.later(2)
    assert bench.facts.order == [("A", 1, 1), ("A", 1, 3)]
    assert given_up.tally.given_up == 1
    bench.later(0.6)
    bench.later(3.5)
    assert bench.facts.order == [("A", 1, 1), ("A", 1, 3), ("A", 1, 6)]


def test_what_comes_after_giving_up_is_applied_late_and_then_acknowledged(bench: Bench) -> None:
    bench.take(insert("A", 1), insert("A", 3))
    bench.later(0.6)
    bench.later(3.5)
    assert bench.take(insert("A", 4)).outbound.acks == {("A", 1): 1}  # never over the hole: the cabinet keeps 2
    late = bench.take(insert("A", 2))
    assert bench.facts.order == [("A", 1, 1), ("A", 1, 3), ("A", 1, 4), ("A", 1, 2)]
    assert late.tally.late == 1
    assert late.outbound.acks == {("A", 1): 4}


def test_what_waits_and_cannot_be_read_any_more_keeps_nobody_waiting(bench: Bench) -> None:
    """Another version of this program took it in."""
    add_station(bench.engine, "B")
    bench.take(insert("A", 1), insert("A", 3), insert("A", 4), insert("B", 1), insert("B", 3))
    _execute(bench.engine, "UPDATE device_event SET raw = '{}' WHERE seq = 3 AND station_id = 1")
    bench.later(0.6)
    assert bench.later(3.5).tally.dead == {"malformed": 1}
    assert bench.facts.order == [("A", 1, 1), ("B", 1, 1), ("A", 1, 4), ("B", 1, 3)]
    assert bench.rows("SELECT station_code, payload = '{}' FROM dead_letter") == [("A", True)]
    assert bench.rows("SELECT seq FROM device_event WHERE applied_at IS NULL") == [(3,)]


def test_lost_events_are_not_waited_for(bench: Bench) -> None:
    bench.take(insert("A", 1), insert("A", 4))
    done = bench.take(up("A", 0, JournalLost(boot=1, first=2, last=3)))
    assert bench.facts.order == [("A", 1, 1), ("A", 1, 4)]
    assert done.outbound.acks == {("A", 1): 4}
    bench.take(insert("A", 3))  # it was found after all
    assert bench.facts.order[-1] == ("A", 1, 3)
    assert bench.take(insert("A", 3)).tally.duplicates["power_bank_inserted"] == 1


def test_an_earlier_boots_journal_comes_before_the_later_boot(bench: Bench) -> None:
    bench.take(booted("A", 1), insert("A", 1))
    bench.take(booted("A", 2, boot=2, journal=[(1, 2, 3)]))
    bench.take(insert("A", 1, boot=2))
    assert bench.facts.order == [("A", 1, 1)]
    bench.take(insert("A", 3), insert("A", 2, boot=2))
    assert bench.facts.order == [("A", 1, 1)]
    done = bench.take(insert("A", 2))
    assert bench.facts.order == [("A", 1, 1), ("A", 1, 2), ("A", 1, 3), ("A", 2, 1), ("A", 2, 2)]
    assert done.outbound.acks == {("A", 1): 3, ("A", 2): 2}
    assert bench.rows("SELECT boot, closed_at IS NULL FROM device_stream ORDER BY 1") == [(1, False), (2, True)]
    assert bench.take(insert("A", 3, boot=2)).tally.applied["power_bank_inserted"] == 1


def test_a_journal_that_never_comes_does_not_hold_back_the_next_boot_for_ever(bench: Bench) -> None:
    bench.take(booted("A", 1), insert("A", 1))
    bench.take(booted("A", 2, boot=2, journal=[(1, 2, 3)]), insert("A", 1, boot=2))
    (asked,) = bench.later(0.6).outbound.messages
    assert b'"first":2' in asked.payload
    bench.later(3.5)
    assert bench.facts.order == [("A", 1, 1), ("A", 2, 1)]


def test_a_new_boot_without_a_journal_closes_the_one_before(bench: Bench) -> None:
    bench.take(booted("A", 1), insert("A", 1), insert("A", 3))
    bench.take(booted("A", 2, boot=2), insert("A", 1, boot=2))
    assert bench.facts.order == [("A", 1, 1), ("A", 1, 3), ("A", 2, 1)]


def test_a_message_that_the_business_refuses_goes_alone(bench: Bench) -> None:
    bench.facts.refuse = lambda fact: ValueError("no such thing") if fact.seq == 2 else None
    add_station(bench.engine, "B")
    done = bench.take(insert("A", 1), insert("A", 2), insert("B", 1), insert("A", 3), lock("A", 4))
    assert bench.facts.order == [("A", 1, 1), ("B", 1, 1), ("A", 1, 3)]
    assert done.tally.dead == {"internal": 1}
    assert done.outbound.acks == {("A", 1): 4, ("B", 1): 1}
    letter = bench.rows("SELECT station_code, error_code, error, payload FROM dead_letter")
    assert [row[:3] for row in letter] == [("A", "internal", "ValueError: no such thing")]
    assert bytes(letter[0][3]) == insert("A", 2).payload


def test_what_the_business_wrote_before_it_failed_is_undone(bench: Bench) -> None:
    def break_off(session: Session, fact: DeviceFact, now: datetime) -> None:
        session.add(PowerBank(serial="X", created_at=now, updated_at=now))
        session.flush()
        session.add(PowerBank(serial="X", created_at=now, updated_at=now))

    bench.ingest._handle = break_off
    done = bench.take(insert("A", 1), lock("A", 2, slot=1), lock("A", 3, slot=2))
    assert list(done.tally.dead) == ["database_23505"]
    assert bench.one("SELECT count(*) FROM power_bank") == 0
    assert bench.one("SELECT locked FROM station_slot WHERE number = 2") is True


def test_what_is_refused_with_the_commit_goes_alone_too(bench: Bench) -> None:
    """A row that nobody asked anything of fails when the transaction ends; which event it is of shows the next time."""
    write = insert_into(table_of(PowerBank)).inline()

    def twice(session: Session, fact: DeviceFact, now: datetime) -> None:
        for _ in range(fact.seq):
            write_later(session, write, {"serial": f"X{fact.seq}", "created_at": now, "updated_at": now})

    bench.ingest._handle = twice
    done = bench.take(insert("A", 1), insert("A", 2), lock("A", 3, slot=2))
    assert list(done.tally.dead) == ["database_23505"]
    assert bench.rows("SELECT serial FROM power_bank") == [("X1",)]
    assert bench.one("SELECT locked FROM station_slot WHERE number = 2") is True
    assert bench.rows("SELECT seq, applied_at IS NULL FROM device_event ORDER BY 1") == [
        (1, False),
        (2, True),
        (3, False),
    ]


def test_whoever_looks_for_the_message_at_fault_says_before_each_try_that_it_is_alive(bench: Bench) -> None:
    """Each may wait for a lock as long as the database lets it, and the watchdog waits for no more than a few."""
    codes = "ABCDEFGH"
    for code in codes[1:]:
        add_station(bench.engine, code)
    bench.take(*(insert(code, 1) for code in codes))
    bench.engine.dispose()

    @listens_for(bench.engine, "connect")
    def hurry(driver: Any, _: object) -> None:
        driver.cursor().execute("SET lock_timeout = '100ms'")
        driver.commit()

    tries: list[int] = []
    with bench.engine.begin() as connection:
        connection.exec_driver_sql("SELECT FROM device_stream WHERE station_id = 1 FOR UPDATE")
        done = bench.ingest.process_stubborn([insert(code, 2) for code in codes], lambda: tries.append(1))
    assert done.tally.dead == {"database_55P03": 1}
    assert bench.facts.order[8:] == [(code, 1, 2) for code in codes[1:]]
    assert len(tries) == 7, "all, 4, 2, 1, and what is left of each half"


def test_a_database_that_only_reads_for_a_while_loses_nothing(bench: Bench) -> None:
    """It is a replica that is to take over. What it refuses is nobody's fault, and it would keep no dead letter."""
    bench.take(insert("A", 1))
    name = bench.engine.url.database
    for only_reads in ("on", "off"):
        with bench.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = off")
            connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {only_reads}')
        bench.engine.dispose()
        if only_reads == "on":
            with pytest.raises(InternalError) as refused:
                bench.take(insert("A", 2), insert("A", 3))
            assert faults.is_transient(refused.value)
    assert bench.take(insert("A", 2), insert("A", 3)).outbound.acks == {("A", 1): 3}
    assert bench.facts.order == [("A", 1, seq) for seq in (1, 2, 3)]


def test_bad_frames_and_strangers_are_kept_and_disturb_nobody(bench: Bench) -> None:
    garbage = Received("vb/v1/A/up/event", b"\x00\xff", None, 1, 1, 1, 0.0)
    nowhere = Received("elsewhere", b"{}", None, 1, 1, 1, 0.0)
    done = bench.take(garbage, insert("A", 1), insert("STRANGER", 1), nowhere, garbage)
    assert bench.facts.order == [("A", 1, 1)]
    assert done.tally.dead == {"malformed": 2, "unknown_station": 1, "wrong_channel": 1}
    letters = bench.rows("SELECT error_code, station_code FROM dead_letter ORDER BY 1")
    assert letters == [("malformed", "A"), ("unknown_station", "STRANGER"), ("wrong_channel", None)]
    assert bench.one("SELECT count(*) FROM station") == 1


def test_a_station_counts_from_the_moment_it_is_created(bench: Bench) -> None:
    bench.take(insert("B", 1))
    add_station(bench.engine, "B")
    bench.take(insert("B", 1))
    assert bench.facts.order == [("B", 1, 1)]


@pytest.mark.parametrize("seq", [1, 2])
def test_a_slot_beyond_the_cabinet_is_refused(bench: Bench, seq: int) -> None:
    message = lock("A", seq, slot=5) if seq == 1 else insert("A", seq, slot=5)
    done = bench.take(*([lock("A", 1)] if seq == 2 else []), message)
    assert done.tally.dead == {"no_such_slot": 1}
    assert bench.facts.order == []
    assert done.outbound.acks == {("A", 1): seq}


@pytest.mark.parametrize("message", [lock("A", 2, slot=5), insert("A", 2, slot=5)])
def test_a_slot_that_was_just_added_is_known_at_once(bench: Bench, message: Received) -> None:
    bench.take(lock("A", 1))
    _execute(bench.engine, "UPDATE station SET slot_count = 5")
    with Session(bench.engine) as session:
        session.add(StationSlot(station_id=1, number=5))
        session.commit()
    assert bench.take(message).tally.dead == {}
    assert bench.facts.order == [("A", 1, 2)] or bench.one("SELECT lock_seq FROM station_slot WHERE number = 5") == 2


def test_times_are_corrected_and_never_later_than_the_receipt(bench: Bench) -> None:
    slow = timedelta(hours=3)

    def at(seq: int, happened: float, came: float, *, replayed: bool) -> Received:
        clock_ms = round((NOON + timedelta(seconds=happened) - slow).timestamp() * 1000)
        message = PowerBankInserted(slot=1, serial=f"B{seq}")
        frame = UpFrame(station="A", boot=1, seq=seq, at_ms=clock_ms, message=message, replayed=replayed)
        return as_received(frame, NOON + timedelta(seconds=came))

    bench.take(at(1, 0, 0.1, replayed=False))
    bench.take(at(2, 10, 500, replayed=True), at(3, 501, 500.5, replayed=False))
    times = [(fact.occurred_at - NOON).total_seconds() for fact in bench.facts.seen]
    assert times == pytest.approx([0.1, 10.1, 500.5], abs=0.51)
    assert all(fact.occurred_at <= fact.received_at for fact in bench.facts.seen)


def test_two_gateways_at_once_apply_everything_once_and_in_order(clean_database: Database) -> None:
    stations = [f"S{number}" for number in range(12)]
    for code in stations:
        add_station(clean_database.engine, code)
    messages = [insert(code, seq) for code in stations for seq in range(1, 31)] * 2
    Random(7).shuffle(messages)
    facts = Facts()
    benches = [Bench(clean_database.engine, facts) for _ in range(2)]
    start = Barrier(2)
    failures: list[BaseException] = []

    def work(bench: Bench, share: list[Received]) -> None:
        start.wait()
        for begin in range(0, len(share), 40):
            while True:
                try:
                    bench.take(*share[begin : begin + 40])
                    break
                except OperationalError as error:  # two transactions met; a lane tries again too
                    failures.append(error)

    threads = [Thread(target=work, args=(bench, messages[n::2])) for n, bench in enumerate(benches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench_counts(benches[0]) == (360, 0)
    for code in stations:
        assert [ref[2] for ref in facts.order if ref[0] == code] == list(range(1, 31))
    assert len(failures) < 5


def bench_counts(bench: Bench) -> tuple[int, int]:
    return (
        bench.one("SELECT count(*) FROM device_event"),
        bench.one("SELECT count(*) FROM device_event WHERE applied_at IS NULL"),
    )


def test_inventory_passes_to_the_business_whole(bench: Bench) -> None:
    inventory = Inventory(slots=(SlotInventory(slot=1, state=SlotState.EMPTY),))
    bench.take(up("A", 1, inventory), up("A", 2, SlotLocked(slot=1)))
    assert [fact.message for fact in bench.facts.seen] == [inventory]
