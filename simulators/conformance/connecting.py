"""Chapters 5 and 6: the boot gate, welcomes of every kind, and what a cabinet says first."""

from typing import Final

from firmware_protocol.commands import QueryInventory, Reboot
from firmware_protocol.messages import (
    Booted,
    Heartbeat,
    Inventory,
    JournalLost,
    Online,
    SessionMessage,
    UpFrame,
)
from firmware_protocol.types import CommandOutcome, ResetCause
from simulators.conformance.bench import Bench, in_order
from simulators.conformance.checks import Check
from simulators.conformance.verdicts import (
    BrokenRequirement,
    CabinetSilent,
    NotRunHere,
    UnsupportedByCabinet,
)
from simulators.conformance.wire import Passed

#: 6.7, with something for the way.
_REPEATED_WITHIN_S: Final = (9.0, 21.0)
_RETRY_AFTER_S: Final = 1
#: A `booted` that comes this soon had left before our answer came.
_CROSSING_S: Final = 0.5
_HEARTBEAT_S: Final = 1
_FLOOR_STEP: Final = 3


def _speaks(passed: Passed) -> bool:
    """Anything but its presence and `booted`; a broken frame too."""
    return passed.frame is None or not isinstance(passed.frame.message, Booted | Online)


def here(bench: Bench) -> None:
    """The very first: without it nothing else can be tried."""
    if not bench.alone:
        try:
            bench.inventory()
        except BrokenRequirement as error:
            raise CabinetSilent(f"{error}. Is it connected under this code?") from None
        return
    bench.order(Reboot())  # one that somebody welcomed before obeys; another one repeats its `booted` by itself
    try:
        bench.booted(0)
    except BrokenRequirement as error:
        raise CabinetSilent(f"{error}. Is it connected under this code? Else switch it off and on.") from None


def quiet_before_the_welcome(bench: Bench) -> None:
    bench.need_alone()
    bench.order(QueryInventory())
    began = next(n for n, each in enumerate(bench.wire.row) if each.frame and isinstance(each.frame.message, Booted))
    bench.wire.listen(_speaks, bench.patience.withhold_s, "before its welcome the cabinet said", since=began)


def booted_again(bench: Bench) -> None:
    bench.need_alone()
    low, high = _REPEATED_WITHIN_S
    if bench.patience.withhold_s < high:
        raise NotRunHere(f"it takes {high:g} s: leave --quick out")
    times = [each.at for each in bench.heard() if each.frame is not None and isinstance(each.frame.message, Booted)]
    if len(times) < 2:
        raise BrokenRequirement(f"booted came once in {bench.patience.withhold_s:g} s without a welcome")
    pause = times[1] - times[0]
    if not low <= pause <= high:
        raise BrokenRequirement(f"booted came again after {pause:.1f} s instead of 10 to 20 s")


def another_sessions_welcome(bench: Bench) -> None:
    bench.need_alone()
    _, booted = bench.booted(0)
    bench.welcome(booted.epoch + 1)
    bench.wire.listen(_speaks, bench.patience.silence_s, "after a welcome of another epoch the cabinet said")


def not_ready(bench: Bench) -> None:
    bench.need_alone()
    since, (_, booted) = bench.mark, bench.booted(0)
    bench.welcome(booted.epoch, retry_after_s=_RETRY_AFTER_S)
    asked = bench.wire.row[since].at

    def again() -> Passed | None:
        later = (each for each in bench.heard(since) if each.at - asked > _CROSSING_S)
        return next((each for each in later if each.frame and isinstance(each.frame.message, Booted)), None)

    pause = bench.wire.wait(again, _RETRY_AFTER_S * 1.5 + bench.patience.answer_s, "booted again").at - asked
    if pause < _RETRY_AFTER_S * 0.9:
        raise BrokenRequirement(f"booted came again after {pause:.2f} s instead of {_RETRY_AFTER_S} s")
    if any(_speaks(each) for each in bench.wire.row[since:] if not each.to_cabinet):
        raise BrokenRequirement("the cabinet spoke although the backend was not ready")


def open_gate(bench: Bench) -> None:
    """From here on the cabinet is welcomed and acknowledged as a backend does it."""
    bench.need_alone()
    since, (_, booted) = bench.mark, bench.booted(0)
    bench.welcomes = bench.acknowledges = True
    bench.welcome(booted.epoch)
    if booted.reset_cause is ResetCause.RECONNECT:
        raise NotRunHere("it did not restart: what follows a restart is looked at below")
    _first_words(bench, since, booted)


def _first_words(bench: Bench, since: int, booted: Booted) -> None:
    """6.8: what the journal held, oldest first and flagged; then the inventory that follows a restart."""
    own, inventory = bench.await_frame(
        Inventory,
        "the inventory that follows a restart",
        since=since,
        timeout_s=bench.patience.answer_s,
        of=lambda frame, message: not frame.replayed and message.command_id is None,
    )
    told = [entry.slot for entry in inventory.slots]
    if not inventory.complete or sorted(told) != list(range(1, booted.slots + 1)):
        raise BrokenRequirement(f"expected slots 1 to {booted.slots}, complete; got {told}")
    events = bench.events(since)
    before = events[: events.index(own)]
    if not in_order(before):
        raise BrokenRequirement("what the journal held did not come oldest first")
    if not all(each.replayed for each in before):
        raise BrokenRequirement("what the journal held was not flagged replayed")


def second_welcome(bench: Bench) -> None:
    bench.need_alone()
    _, booted = bench.frames(Booted)[-1]
    bench.welcome(booted.epoch)
    bench.wire.listen(
        lambda each: each.frame is not None and isinstance(each.frame.message, SessionMessage),
        bench.patience.silence_s,
        "after a second welcome the cabinet said",
    )
    bench.inventory()


def heartbeats(bench: Bench) -> None:
    bench.need_alone()
    _, booted = bench.frames(Booted)[-1]
    since = bench.mark
    bench.welcome(booted.epoch, heartbeat_s=_HEARTBEAT_S)

    def two() -> bool | None:
        return len(bench.frames(Heartbeat, since)) >= 2 or None

    bench.wire.wait(two, bench.patience.answer_s, f"two heartbeats, one every {_HEARTBEAT_S} s")
    bench.welcome(booted.epoch)


def restart(bench: Bench) -> None:
    """Ordered while events are unacknowledged, where we can: the next checks look at what follows."""
    if bench.alone:
        bench.acknowledges = bench.welcomes = False
        bench.inventory()
    since = bench.mark
    told, result = bench.carry_out(Reboot())
    if result.outcome is CommandOutcome.UNSUPPORTED:
        bench.acknowledges = bench.welcomes = True
        raise UnsupportedByCabinet("reboot is answered unsupported")
    if result.outcome is not CommandOutcome.SUCCEEDED:
        raise BrokenRequirement(f"reboot: {result.outcome}")
    frame, booted = bench.booted(since)
    bench.restarted_from = told.boot
    if booted.reset_cause is not ResetCause.SOFTWARE:
        raise BrokenRequirement(f"reset_cause: expected software, got {booted.reset_cause}")
    if frame.boot != told.boot + 1:
        raise BrokenRequirement(f"boot: expected {told.boot + 1} after {told.boot}, got {frame.boot}")


def presence(bench: Bench) -> None:
    """6.4, 6.5: of the restart before."""
    row = [each for each in bench.heard() if each.frame is not None]
    at = max((n for n, each in enumerate(row) if each.frame and isinstance(each.frame.message, Booted)), default=None)
    if at is None:
        raise NotRunHere("it did not restart")
    epoch = _epoch(row[at])
    online = [each for each in row[:at] if each.frame and isinstance(each.frame.message, Online)]
    mine = [each for each in online if _epoch(each) == epoch]
    if not mine and bench.restarted_from is None:
        raise NotRunHere("it did not restart, and was there before this run")
    if not mine:
        raise BrokenRequirement(f"no online of epoch {epoch} before its booted")
    if not mine[0].retained:
        raise BrokenRequirement("online was not published retained")


def _epoch(passed: Passed) -> int:
    assert passed.frame is not None  # by whoever asks
    message = passed.frame.message
    assert isinstance(message, Booted | Online)
    return message.epoch


def epochs_rise(bench: Bench) -> None:
    epochs = [message.epoch for _, message in bench.frames(Online)]
    if len(epochs) < 2:
        raise NotRunHere("it connected once only")
    if epochs != sorted(set(epochs)):
        raise BrokenRequirement(f"epochs did not rise with every connection: {epochs}")


def journal_is_listed(bench: Bench) -> None:
    bench.need_alone()
    held, booted = _unacknowledged(bench)
    listed = {(each.boot, seq) for each in booted.journal for seq in range(each.first, each.last + 1)}
    missing = sorted({(each.boot, each.seq) for each in held} - listed)
    if missing:
        raise BrokenRequirement(f"booted.journal leaves out what was never acknowledged (boot, seq): {missing[:10]}")


def lost_boot_counter(bench: Bench) -> None:
    bench.need_alone()
    _left_in_doubt(bench)
    frame, booted = bench.frames(Booted)[-1]
    if booted.reset_cause is ResetCause.RECONNECT:
        raise NotRunHere("it says that it reconnected: its boot is no new one")
    since, floor = bench.mark, frame.boot + _FLOOR_STEP
    bench.welcome(booted.epoch, boot_floor=floor)
    again, _ = bench.booted(since)
    if again.boot != floor + 1:
        raise BrokenRequirement(f"boot: expected {floor + 1} above the floor {floor}, got {again.boot}")


def lost_epoch(bench: Bench) -> None:
    bench.need_alone()
    _left_in_doubt(bench)
    since, (_, booted) = bench.mark, bench.frames(Booted)[-1]
    floor = booted.epoch + _FLOOR_STEP
    bench.welcome(booted.epoch, epoch_floor=floor)
    _, again = bench.booted(since)
    if again.epoch <= floor:
        raise BrokenRequirement(f"epoch: expected one above {floor}, got {again.epoch}")


def keeps_its_cause(bench: Bench) -> None:
    """6.5: of the connections before, in none of which it was welcomed."""
    bench.need_alone()
    _left_in_doubt(bench)
    told = [(frame.boot, booted) for frame, booted in bench.frames(Booted)]
    boot, last = told[-1]
    before = [booted for each, booted in told if each == boot and booted.epoch < last.epoch]
    if not before:
        raise NotRunHere("it did not connect again")
    must_keep_its_cause(before[-1].reset_cause, last.reset_cause)


def must_keep_its_cause(before: ResetCause, last: ResetCause) -> None:
    if last is not before:
        raise BrokenRequirement(f"reset_cause: expected {before}, as no welcome came since the start, got {last}")


def replay(bench: Bench) -> None:
    """7.2, 6.8: what was never acknowledged comes again before anything new."""
    bench.need_alone()
    held, booted = _unacknowledged(bench)
    since = bench.mark
    bench.welcomes = True
    bench.welcome(booted.epoch)
    wanted = {(each.boot, each.seq) for each in held}

    def all_here() -> bool | None:
        come = {(frame.boot, frame.seq) for frame in bench.events(since) if frame.replayed}
        lost = {
            (lost.boot, seq) for _, lost in bench.frames(JournalLost, since) for seq in range(lost.first, lost.last + 1)
        }
        return wanted <= come | lost or None

    bench.wire.wait(all_here, bench.patience.answer_s, "the events that were never acknowledged, flagged replayed")
    bench.acknowledges = True
    bench.acknowledge()
    _first_words(bench, since, booted)


def _left_in_doubt(bench: Bench) -> int:
    """The boot that was left with events which nobody acknowledged."""
    if bench.restarted_from is None:
        raise NotRunHere("it did not restart")
    return bench.restarted_from


def _unacknowledged(bench: Bench) -> tuple[list[UpFrame], Booted]:
    """Events of the boot that was left, and the newest `booted`."""
    boot = _left_in_doubt(bench)
    through = bench.acknowledged(boot)
    held = [frame for frame in bench.events() if frame.boot == boot and frame.seq > through]
    return held, bench.frames(Booted)[-1][1]


def gate_is_open(bench: Bench) -> None:
    """Whatever became of the checks above: those that follow need a cabinet that listens."""
    bench.welcomes = bench.acknowledges = True
    if bench.alone and bench.frames(Booted):
        bench.welcome(bench.frames(Booted)[-1][1].epoch)
        bench.acknowledge()
    bench.inventory()


def inventory_after_a_restart(bench: Bench) -> None:
    """Beside another backend: what can be seen of 6.8."""
    if bench.alone:
        raise NotRunHere("it is looked at above")
    boot = _left_in_doubt(bench) + 1

    def its_own(frame: UpFrame, message: Inventory) -> bool:
        return frame.boot == boot and message.command_id is None and message.complete

    what = "the inventory that follows a restart"
    bench.await_frame(Inventory, what, since=0, timeout_s=bench.patience.answer_s, of=its_own)


FIRST: Final = (
    Check("2.2", "It is connected under its code", here),
    Check("6.5", "Nothing but booted before the welcome; commands are not obeyed", quiet_before_the_welcome),
    Check("6.7", "Without a welcome booted comes again after 10 to 20 s", booted_again),
    Check("6.6", "A welcome of another epoch is ignored", another_sessions_welcome),
    Check("6.6.1", "retry_after_s: quiet, then booted again", not_ready),
    Check("6.6.3", "The welcome opens the gate: the journal, then a complete inventory", open_gate),
)
SETTLED: Final = (
    Check("6.9", "A second welcome changes nothing else", second_welcome),
    Check("11.2", "Heartbeats come in the period of the welcome", heartbeats),
)
RESTART: Final = (
    Check("10.4", "reboot: the result, then a restart; boot rises by one (5.1)", restart),
    Check("6.4", "online, retained, with the epoch of the booted that follows", presence),
    Check("7.2", "booted lists what was never acknowledged", journal_is_listed),
    Check("6.6.2", "boot_floor: it continues above it", lost_boot_counter),
    Check("6.6.0", "epoch_floor: it connects again above it", lost_epoch),
    Check("6.5", "reset_cause stays what it was until a welcome came", keeps_its_cause),
    Check("6.8, 7.2", "After a restart: what was never acknowledged, flagged replayed, then the inventory", replay),
    Check("6.8", "After a restart a complete inventory by itself", inventory_after_a_restart),
    Check("6.6.3", "After all that it is welcomed, and answers", gate_is_open),
    Check("5.2", "epoch rises with every connection", epochs_rise),
)
