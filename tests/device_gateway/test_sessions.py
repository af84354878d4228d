"""Boots, wills and silence, on a real database."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from device_gateway.directory import Directory
from device_gateway.duties import Presence
from device_gateway.event_ingest import EventIngest
from device_gateway.habits import Habits
from device_gateway.ingest import Done
from device_gateway.touch import Touches
from firmware_protocol.commands import Welcome
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import Offline, Online
from firmware_protocol.types import OfflineCause, ResetCause
from fleet.db import create_engine_from, session_scope
from fleet.devices import presence, reconcile, silence
from tests.databases import Database
from tests.device_gateway.support import NOON, Bench, add_station, booted, insert, lock, up


@pytest.fixture
def bench(clean_database: Database) -> Bench:
    add_station(clean_database.engine, "A")
    return Bench(clean_database.engine)


def welcomes(done: Done) -> list[Welcome]:
    found = [NATIVE.decode_control(each.payload) for each in done.outbound.messages if each.topic.endswith("/welcome")]
    return [each for each in found if isinstance(each, Welcome)]


def online(bench: Bench) -> bool:
    return bool(bench.one("SELECT online FROM station"))


SESSIONS = "SELECT epoch, boot, ended_at IS NULL, cause FROM device_session ORDER BY epoch"


def test_a_boot_opens_a_session_and_is_welcomed(bench: Bench) -> None:
    (welcome,) = welcomes(bench.take(booted("A", 7, boot=3)))
    assert (welcome.epoch, welcome.heartbeat_s, welcome.telemetry_s) == (7, 30, 60)
    assert (welcome.server_ms, welcome.boot_floor, welcome.retry_after_s) == (round(NOON.timestamp() * 1000), 0, None)
    assert bench.rows(SESSIONS) == [(7, 3, True, None)]
    assert online(bench)
    assert bench.rows("SELECT online, cause FROM station_status_history") == [(True, "booted")]


QUESTIONS = "SELECT kind, state, deadline - created_at FROM device_command"


@pytest.mark.parametrize("cause", [ResetCause.RECONNECT, ResetCause.UNKNOWN])
def test_a_cabinet_that_did_not_restart_is_asked_what_it_holds(bench: Bench, cause: ResetCause) -> None:
    bench.take(booted("A", 7, boot=3, cause=cause))
    assert bench.rows(QUESTIONS) == [("query_inventory", "queued", timedelta(seconds=60))]


def test_a_cabinet_that_restarted_shows_its_slots_by_itself_or_is_asked_soon(bench: Bench) -> None:
    bench.take(booted("A", 7, boot=3))
    assert bench.rows(QUESTIONS) == []
    every = timedelta(hours=1)
    with session_scope(bench.engine) as session:
        assert reconcile.ask_due(session, NOON + reconcile.SHOWS_WITHIN - timedelta(seconds=1), every) == []
        assert len(reconcile.ask_due(session, NOON + reconcile.SHOWS_WITHIN, every)) == 1
    assert [row[:2] for row in bench.rows(QUESTIONS)] == [("query_inventory", "queued")]


def test_where_nobody_asks_later_a_cabinet_is_asked_at_once(bench: Bench) -> None:
    own = EventIngest(bench.engine, bench.directory, bench.facts, telemetry_s=60, clock=lambda: NOON, asks_later=False)
    own.process([booted("A", 7, boot=3)])
    assert bench.rows(QUESTIONS) == [("query_inventory", "queued", timedelta(seconds=60))]


def test_of_several_wills_that_of_the_newest_session_counts(bench: Bench) -> None:
    bench.take(booted("A", 5))
    wills = (up("A", 0, Offline(epoch=epoch, cause=cause)) for epoch, cause in (
        (4, OfflineCause.SHUTDOWN), (5, OfflineCause.POWER), (5, OfflineCause.NETWORK), (7, OfflineCause.NETWORK),
    ))  # fmt: skip
    bench.take(*wills)
    assert bench.rows(SESSIONS) == [(5, 1, False, "power")]
    assert not online(bench)
    assert bench.rows("SELECT evidence FROM station_status_history WHERE NOT online") == [({"epoch": 5},)]


def test_the_same_epoch_again_is_welcomed_again_and_writes_nothing(bench: Bench) -> None:
    bench.take(booted("A", 7, boot=3))
    (again,) = welcomes(bench.take(booted("A", 7, boot=3), booted("A", 7, boot=3)))
    assert again.epoch == 7
    assert bench.rows(SESSIONS) == [(7, 3, True, None)]
    assert bench.one("SELECT unanswered FROM station_reconciliation") == 1
    assert bench.one("SELECT count(*) FROM station_status_history") == 1


def test_a_later_epoch_supersedes_and_an_older_one_is_told_where_to_go_on(bench: Bench) -> None:
    bench.take(booted("A", 7))
    bench.take(booted("A", 8, cause=ResetCause.RECONNECT))
    (shut,) = welcomes(bench.take(booted("A", 7)))
    assert (shut.epoch, shut.epoch_floor) == (7, 8)
    assert shut.retry_after_s
    assert bench.rows(SESSIONS) == [(7, 1, False, "superseded"), (8, 1, True, None)]
    assert bench.one("SELECT count(*) FROM station_status_history") == 1


def test_the_newest_epoch_again_after_its_end_is_told_where_to_go_on(bench: Bench) -> None:
    bench.take(booted("A", 1))
    bench.take(up("A", 0, Offline(epoch=1, cause=OfflineCause.POWER)))
    (shut,) = welcomes(bench.take(booted("A", 1)))
    assert (shut.epoch, shut.epoch_floor) == (1, 1)
    assert shut.retry_after_s
    (again,) = welcomes(bench.take(booted("A", 2)))
    assert (again.epoch, again.epoch_floor, again.boot_floor, again.retry_after_s) == (2, 0, 1, None)


REBOOTS = "SELECT count(*) FROM device_command WHERE kind = 'reboot'"


def test_a_cabinet_that_goes_on_in_an_older_boot_is_told_to_restart_once(bench: Bench) -> None:
    bench.take(booted("A", 1, boot=5))
    bench.take(booted("A", 2, boot=5, cause=ResetCause.RECONNECT))
    bench.take(booted("A", 3, boot=6))
    bench.take(booted("A", 4, boot=6, cause=ResetCause.RECONNECT))
    assert bench.one(REBOOTS) == 0
    bench.take(booted("A", 5, boot=5, cause=ResetCause.RECONNECT))  # its twin had restarted under the same name
    bench.take(booted("A", 6, boot=5, cause=ResetCause.RECONNECT))
    assert bench.rows("SELECT kind, state, purpose FROM device_command WHERE kind = 'reboot'") == [
        ("reboot", "queued", "connected")
    ]
    (welcome,) = welcomes(bench.take(booted("A", 7, boot=6, cause=ResetCause.SOFTWARE)))
    assert welcome.boot_floor == 6
    bench.take(booted("A", 7, boot=7, cause=ResetCause.SOFTWARE))
    bench.take(booted("A", 8, boot=7, cause=ResetCause.RECONNECT))
    assert bench.one(REBOOTS) == 1


def test_a_twin_that_connects_in_the_same_second_is_told_to_count_above_the_first(bench: Bench) -> None:
    """Their epochs are equal, because both are seconds; that one restarted and the other did not tells them apart."""
    bench.take(booted("A", 1, boot=1), insert("A", 1, boot=1))
    bench.take(booted("A", 2, boot=1, cause=ResetCause.RECONNECT))
    for _ in range(2):
        (climb,) = welcomes(bench.take(booted("A", 2, boot=1)))
        assert (climb.boot_floor, climb.retry_after_s) == (1, None)
    for _ in range(2):  # it has counted above, and is not lifted again
        (welcome,) = welcomes(bench.take(booted("A", 2, boot=2)))
        assert (welcome.boot_floor, welcome.retry_after_s) == (1, None)
    assert bench.rows(SESSIONS)[-1] == (2, 2, True, None)
    bench.take(booted("A", 3, boot=1, cause=ResetCause.RECONNECT))
    assert bench.one(REBOOTS) == 1


def test_two_that_count_in_one_boot_contradict_each_other_until_one_restarts(bench: Bench) -> None:
    bench.take(booted("A", 1, boot=5), insert("A", 1, boot=5, serial="OLD"))
    bench.take(booted("A", 2, boot=6), insert("A", 1, boot=6, serial="X"), insert("A", 1, boot=5, serial="OLDER"))
    assert bench.one(REBOOTS) == 0  # nobody counts in that boot any more
    bench.take(insert("A", 1, boot=6, serial="Y"), insert("A", 1, boot=6, serial="Z"))
    bench.take(insert("A", 1, boot=6, serial="Y"))
    assert bench.rows("SELECT kind, state, purpose, deadline - created_at FROM device_command") == [
        ("reboot", "queued", "connected", timedelta(seconds=60))
    ]

    def again(state: str, after: timedelta, *, sent: bool = True) -> int:
        """Reboots ordered by a contradiction `after` the only order that came to `state`."""
        with bench.engine.begin() as connection:
            connection.execute(
                text("DELETE FROM device_command WHERE state = 'queued' AND created_at <> :at"), {"at": NOON}
            )
            sent_at = NOON if sent else None
            connection.execute(
                text("UPDATE device_command SET state = :state, sent_at = :at"), {"state": state, "at": sent_at}
            )
        bench.now = NOON + after
        bench.take(insert("A", 1, boot=6, serial="Y"))
        return int(bench.one(REBOOTS)) - 1

    for answer in ("succeeded", "failed", "unknown", "abandoned"):  # it may be lost under a number that is taken, too
        assert again(answer, timedelta(minutes=14)) == 0
    assert again("succeeded", timedelta(minutes=16)) == 1
    assert again("expired", timedelta(minutes=2), sent=False) == 1


def test_only_the_newest_of_a_batch_is_welcomed(bench: Bench) -> None:
    assert [each.epoch for each in welcomes(bench.take(booted("A", 9), booted("A", 8), booted("A", 9)))] == [9]


def test_a_cabinet_that_lost_count_is_told_where_to_go_on(bench: Bench) -> None:
    bench.take(booted("A", 1, boot=41), insert("A", 1, boot=41))
    (first,) = welcomes(bench.take(booted("A", 2, boot=1)))
    assert first.boot_floor == 41
    assert bench.one("SELECT closed_at IS NULL FROM device_stream WHERE boot = 41") is True  # 1 was no real boot
    (second,) = welcomes(bench.take(booted("A", 2, boot=42)))
    assert (second.epoch, second.boot_floor) == (2, 41)
    assert bench.rows(SESSIONS)[-1] == (2, 42, True, None)
    bench.take(insert("A", 1, boot=42))
    assert bench.facts.order[-1] == ("A", 42, 1)


def test_a_reconnect_in_the_same_boot_has_no_floor_of_its_own(bench: Bench) -> None:
    bench.take(booted("A", 1, boot=4))
    (restart,) = welcomes(bench.take(booted("A", 2, boot=5)))
    assert restart.boot_floor == 4
    (reconnect,) = welcomes(bench.take(booted("A", 3, boot=5, cause=ResetCause.RECONNECT)))
    assert reconnect.boot_floor == 4


def test_a_restart_under_a_used_number_is_lifted(bench: Bench) -> None:
    bench.take(booted("A", 1, boot=5))
    (again,) = welcomes(bench.take(booted("A", 2, boot=5, cause=ResetCause.WATCHDOG)))
    assert again.boot_floor == 5


def test_the_will_of_the_current_session_ends_it(bench: Bench) -> None:
    bench.take(booted("A", 7))
    bench.take(up("A", 0, Offline(epoch=7, cause=OfflineCause.POWER)))
    assert bench.rows(SESSIONS) == [(7, 1, False, "power")]
    assert not online(bench)
    assert bench.rows("SELECT online, cause FROM station_status_history ORDER BY id")[-1] == (False, "power")


def test_an_old_will_does_not_end_a_newer_session(bench: Bench) -> None:
    bench.take(booted("A", 7))
    bench.take(booted("A", 8, cause=ResetCause.RECONNECT), up("A", 0, Offline(epoch=7)))
    bench.take(up("A", 0, Offline(epoch=7)))
    assert online(bench)
    assert bench.rows(SESSIONS)[-1] == (8, 1, True, None)


def test_a_will_and_a_boot_in_one_batch(bench: Bench) -> None:
    bench.take(up("A", 0, Offline(epoch=7)), booted("A", 7), up("A", 0, Online(epoch=7)))
    assert not online(bench)


def beat(bench: Bench, seconds: float, *, connected_s: float = 1000) -> None:
    """Time passes, and a gateway is alive that has been connected for `connected_s`."""
    bench.now += timedelta(seconds=seconds)
    with session_scope(bench.engine) as session:
        presence.gateway_beat(
            session,
            name="g",
            started_at=NOON,
            connected_since=bench.now - timedelta(seconds=connected_s),
            now=bench.now,
        )


def mark(bench: Bench) -> list[int]:
    with session_scope(bench.engine) as session:
        return silence.mark_silent(session, bench.now, 2.5)


def heard(bench: Bench) -> list[int]:
    with session_scope(bench.engine) as session:
        return presence.heard(session, [bench.one("SELECT id FROM station")], bench.now)


def test_silence_ends_a_session_and_two_words_open_it_again(bench: Bench) -> None:
    bench.take(booted("A", 7))
    beat(bench, 74)
    assert mark(bench) == []
    beat(bench, 2)
    assert len(mark(bench)) == 1
    assert mark(bench) == []
    assert bench.rows(SESSIONS) == [(7, 1, False, "silent")]
    bench.now += timedelta(seconds=10)
    assert heard(bench) == []  # one late heartbeat of a cabinet that is going down is no return
    assert heard(bench) == []  # nor is what came with it
    assert not online(bench)
    bench.now += timedelta(seconds=5)
    assert len(heard(bench)) == 1
    assert heard(bench) == []
    assert online(bench)
    assert bench.rows(SESSIONS) == [(7, 1, True, None)]
    assert [row[0] for row in bench.rows("SELECT cause FROM station_status_history ORDER BY id")] == [
        "booted",
        "silent",
        "heard",
    ]


def test_a_session_that_its_will_ended_is_not_opened_by_a_late_word(bench: Bench) -> None:
    bench.take(booted("A", 7))
    beat(bench, 80)
    mark(bench)
    bench.take(up("A", 0, Offline(epoch=7, cause=OfflineCause.NETWORK)))
    assert bench.rows(SESSIONS) == [(7, 1, False, "network")]
    assert heard(bench) == []
    assert not online(bench)


@pytest.mark.parametrize("connected_s", [0, 60])
def test_our_own_deafness_is_not_their_silence(bench: Bench, connected_s: float) -> None:
    bench.take(booted("A", 7))
    beat(bench, 500, connected_s=connected_s)
    assert mark(bench) == []


def test_without_a_gateway_alive_nobody_is_silent(bench: Bench) -> None:
    bench.take(booted("A", 7))
    beat(bench, 0)
    bench.now += timedelta(seconds=500)
    assert mark(bench) == []


def test_events_before_the_boot_message_are_not_lost(bench: Bench) -> None:
    bench.take(lock("A", 1), lock("A", 2))
    bench.take(booted("A", 1))
    bench.take(lock("A", 3))
    assert bench.one("SELECT applied_through FROM device_stream") == 3


def test_signs_of_life_of_all_lanes_are_written_together_and_once_more_only_when_due(bench: Bench) -> None:
    directory, clock = Directory(), (NOON + timedelta(minutes=minute) for minute in range(1, 10))
    signs = Presence(bench.engine, Touches(directory), Habits(directory, 2.5), lambda: next(clock), 2.5)
    bench.take(booted("A", 7, boot=3))
    other = add_station(bench.engine, "B")
    here = bench.one("SELECT id FROM station WHERE code = 'A'")
    seen = "SELECT last_heard_at FROM station ORDER BY id"
    before = bench.rows(seen)
    signs.heard({here})
    signs.heard({here, other})
    assert bench.rows(seen) == before, "nobody's tick has come yet"
    signs.write_when_due()
    assert bench.rows(seen) == [(NOON + timedelta(minutes=1),)] * 2
    assert bench.one("SELECT last_seen_at FROM device_session") == NOON + timedelta(minutes=1)
    signs.heard({here, other})  # a moment later: not again
    signs.write()
    assert bench.rows(seen) == [(NOON + timedelta(minutes=1),)] * 2


def test_signs_of_life_that_could_not_be_written_are_due_with_the_next_word(bench: Bench) -> None:
    directory, away = Directory(), create_engine_from("postgresql+psycopg2://nobody@127.0.0.1:1/nothing")
    touches, habits = Touches(directory), Habits(directory, 2.5)
    here = bench.one("SELECT id FROM station WHERE code = 'A'")
    signs = Presence(away, touches, habits, lambda: NOON, 2.5)
    signs.heard({here})
    signs.write()
    assert touches.due({here}) == [here]
