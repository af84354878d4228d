"""Boot gate, presence, journal, acknowledgement, resend, reconnecting."""

from firmware_protocol.commands import Welcome
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.limits import MAX_COUNTER
from firmware_protocol.messages import (
    Booted,
    Heartbeat,
    Inventory,
    JournalLost,
    JournalRange,
    Offline,
    Online,
    PowerBankEjected,
    PowerBankInserted,
    SlotTelemetry,
)
from firmware_protocol.types import OfflineCause, ResetCause
from simulators.tuning import Tuning
from simulators.uplink import Phase
from tests.simulators.virtual import START_MS, Bench, only


def test_nothing_but_presence_and_booted_before_the_welcome() -> None:
    bench = Bench().power_on()
    bench.cabinet.remove(bench.occupied[0][0], bench.now_ms)
    bench.run(5_000)
    assert [type(frame.message) for frame in bench.take()] == [Online, Booted]
    assert bench.cabinet.phase is Phase.GATED


def test_the_welcome_opens_the_gate_and_the_journal_follows_in_order() -> None:
    bench = Bench().power_on()
    slot = bench.occupied[0][0]
    bench.cabinet.remove(slot, bench.now_ms)
    bench.take()
    bench.welcome()
    frames = bench.take()
    assert [(f.boot, f.seq, f.replayed, type(f.message)) for f in frames] == [
        (1, 1, True, PowerBankEjected),
        (1, 2, False, Inventory),
    ]


def test_a_welcome_for_another_session_is_ignored() -> None:
    bench = Bench().power_on()
    older = bench.cabinet.board.epoch - 1
    bench.say(Welcome(epoch=older, server_ms=START_MS, heartbeat_s=30, telemetry_s=30))
    assert not bench.cabinet.board.welcomed
    bench.welcome()
    assert bench.cabinet.board.welcomed


def test_a_second_welcome_renews_clock_and_periods_and_nothing_else() -> None:
    bench = Bench().ready(heartbeat_s=20)
    bench.welcome(heartbeat_s=60)
    assert bench.take() == []
    bench.run(20_000)
    bench.take()
    bench.run(600_000)
    assert len(bench.take()) == 10


def test_booted_is_repeated_until_somebody_answers() -> None:
    bench = Bench().power_on()
    bench.run(60_000)
    booted = [frame for frame in bench.take() if isinstance(frame.message, Booted)]
    assert 3 <= len(booted) <= 7


def test_retry_after_is_waited_for_with_jitter() -> None:
    bench = Bench().power_on()
    bench.take()
    bench.welcome(retry_after_s=100)
    bench.run(99_999)
    assert bench.take() == []
    bench.run(50_002)
    assert isinstance(bench.take()[0].message, Booted)


def test_boot_floor_lifts_a_cabinet_that_lost_its_counter() -> None:
    bench = Bench().power_on()
    bench.cabinet.remove(bench.occupied[0][0], bench.now_ms)
    bench.take()
    bench.welcome(boot_floor=41)
    (again,) = bench.take()
    assert isinstance(again.message, Booted)
    assert again.boot == 42
    assert again.message.journal == (JournalRange(boot=42, first=1, last=1),)
    bench.welcome(boot_floor=41)
    assert {(frame.boot, frame.seq) for frame in bench.take()} == {(42, 1), (42, 2)}


def test_epoch_floor_lifts_a_cabinet_that_lost_its_counter() -> None:
    bench = Bench().power_on()
    bench.take()
    floor = bench.cabinet.board.epoch + 1_000_000
    bench.welcome(epoch_floor=floor, retry_after_s=20)
    bench.run(60_000)
    booted = [frame.message for frame in bench.take() if isinstance(frame.message, Booted)]
    assert [message.epoch for message in booted][:1] == [floor + 1]


def test_a_boot_that_was_never_welcomed_keeps_its_cause() -> None:
    """Else it would never be told to count above another one of its name."""
    bench = Bench().power_on()
    for _ in range(2):
        booted = bench.booted()
        assert booted.reset_cause is ResetCause.POWER_ON
        bench.drop_link()
        bench.run(120_000)
    bench.take()
    bench.welcome(boot_floor=41)
    assert bench.booted().reset_cause is ResetCause.POWER_ON
    assert bench.cabinet.board.boot == 42


def test_boot_floor_is_ignored_after_a_mere_reconnect() -> None:
    bench = Bench().ready()
    bench.drop_link()
    bench.run(120_000)
    bench.welcome(boot_floor=1)
    assert bench.cabinet.phase is Phase.WELCOMED
    assert bench.cabinet.board.boot == 1


def test_acknowledged_events_are_forgotten_and_the_rest_is_replayed_after_a_reconnect() -> None:
    bench = Bench().ready()
    slots = [slot for slot, _ in bench.occupied[:3]]
    for slot in slots:
        bench.cabinet.remove(slot, bench.now_ms)
    bench.run(0)
    first = [frame.seq for frame in bench.take()]
    bench.ack(first[0])
    bench.drop_link()
    bench.run(120_000)
    booted = bench.booted()
    assert booted.reset_cause is ResetCause.RECONNECT
    assert booted.journal == (JournalRange(boot=1, first=first[1], last=first[2]),)
    bench.welcome()
    assert [(frame.seq, frame.replayed) for frame in bench.take()] == [(first[1], True), (first[2], True)]


def test_epoch_rises_with_every_connect_and_the_will_names_it() -> None:
    bench = Bench().ready()
    before = bench.cabinet.board.epoch
    bench.drop_link()
    bench.run(120_000)
    assert bench.cabinet.board.epoch > before
    assert bench.will is not None
    will = NATIVE.decode(bench.will.topic, bench.will.payload, bench.will.content_type)
    assert will.message == Offline(epoch=bench.cabinet.board.epoch, cause=OfflineCause.NETWORK)
    assert bench.will.retain


def test_reconnects_are_spread_by_full_jitter_up_to_the_cap() -> None:
    bench = Bench(Tuning(backoff_cap_s=20)).ready()
    bench.link_works = False
    bench.drop_link()
    waits = []
    for _ in range(30):
        due = bench.cabinet.next_due()
        assert due is not None
        waits.append(due - bench.now_ms)
        bench.run(due - bench.now_ms)
    assert max(waits) <= 20_000
    assert min(waits) < 8_000
    assert max(waits) > 12_000


def test_resend_answers_with_what_is_held_and_names_what_is_gone() -> None:
    bench = Bench().ready()
    for slot, _ in bench.occupied[:3]:
        bench.cabinet.remove(slot, bench.now_ms)
    bench.run(0)
    bench.take()
    bench.resend((1, 1, 3), (1, 9, 12), (7, 1, MAX_COUNTER))
    frames = bench.take()
    assert frames[0].message == JournalLost(boot=1, first=1, last=1)
    assert [(frame.seq, frame.replayed) for frame in frames[1:]] == [(2, True), (3, True)]


def test_a_full_journal_gives_up_the_oldest_and_says_so() -> None:
    bench = Bench(Tuning(journal_size=3)).ready()
    bench.cabinet.disconnect(bench.now_ms)
    for slot, _ in bench.occupied[:5]:
        bench.cabinet.remove(slot, bench.now_ms)
    assert len(bench.cabinet.board.journal) == 3
    bench.cabinet.connect(bench.now_ms)
    bench.run(0)
    assert bench.booted().journal == (JournalRange(boot=1, first=4, last=6),)
    bench.welcome()
    frames = bench.take()
    assert frames[0].message == JournalLost(boot=1, first=2, last=3)
    # The inventory that follows a loss pushes one more event out.
    assert [frame.seq for frame in frames[1:]] == [4, 5, 6, 7]
    bench.run(1_000)
    assert only(JournalLost, [frame.message for frame in bench.take()]) == JournalLost(boot=1, first=2, last=4)
    bench.ack()
    assert bench.cabinet.board.journal.lost == ()


def test_heartbeats_and_telemetry_keep_their_periods_and_their_own_numbers() -> None:
    bench = Bench().ready(heartbeat_s=20, telemetry_s=60)
    bench.run(600_000)
    frames = bench.take()
    beats = [frame for frame in frames if isinstance(frame.message, Heartbeat)]
    samples = [frame.message for frame in frames if isinstance(frame.message, SlotTelemetry)]
    assert len(beats) == 30
    assert len(samples) == 10
    assert [frame.seq for frame in frames] == list(range(1, 41))
    serials = {sample.serial for message in samples for sample in message.slots}
    assert serials == {serial for _, serial in bench.occupied}


def test_a_planned_end_says_so_and_never_comes_back() -> None:
    bench = Bench().ready()
    bench.cabinet.shut_down(bench.now_ms)
    bench.run(3_600_000)
    (goodbye,) = bench.take()
    assert goodbye.message == Offline(epoch=bench.cabinet.board.epoch, cause=OfflineCause.SHUTDOWN)
    assert bench.hangups == [True]


def test_a_restart_raises_boot_and_notices_nothing_meanwhile() -> None:
    bench = Bench().ready()
    slot, serial = bench.occupied[0]
    bench.cabinet.restart(bench.now_ms)
    bench.cabinet.remove(slot, bench.now_ms)
    bench.run(10_000)
    assert bench.booted().reset_cause is ResetCause.SOFTWARE
    bench.welcome()
    (frame,) = bench.take()
    assert (frame.boot, frame.seq) == (2, 1)
    inventory = only(Inventory, [frame.message])
    assert serial not in {entry.serial for entry in inventory.slots}
    assert bench.hangups == [False]


def test_what_the_backend_says_wrongly_changes_nothing() -> None:
    bench = Bench().ready()
    bench.cabinet.received(f"vb/v1/{bench.station.code}/down/command", b"\x00garbage", None, bench.now_ms)
    bench.run(0)
    assert bench.take() == []
    assert bench.cabinet.unreadable == 1


def test_inserted_banks_are_reported_with_their_charge() -> None:
    bench = Bench().ready()
    slot, serial = bench.occupied[0]
    bank = bench.cabinet.remove(slot, bench.now_ms)
    bank.charge = 33.0
    free = bench.empty[0]
    assert bench.cabinet.insert(bench.hands.give_back(serial, bench.now_ms), None, bench.now_ms) == free
    bench.run(0)
    inserted = only(PowerBankInserted, bench.events())
    assert (inserted.serial, inserted.charge_pct) == (serial, 33)
