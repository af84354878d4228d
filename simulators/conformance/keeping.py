"""Chapter 7 while nothing restarts, and what must hold of everything that was heard."""

from typing import Final

from firmware_protocol.messages import JournalLost, JournalRange, UpFrame
from simulators.conformance.bench import Bench, in_order
from simulators.conformance.checks import Check
from simulators.conformance.verdicts import BrokenRequirement


def sent_again(bench: Bench) -> None:
    """7.4: what is still held, byte for byte, oldest first."""
    bench.need_alone()
    bench.acknowledges = False
    try:
        since = bench.mark
        bench.inventory()
        bench.inventory()
        first = bench.events(since)
        wanted = JournalRange(boot=first[0].boot, first=first[0].seq, last=first[-1].seq)
        since = bench.mark
        bench.resend(wanted)

        def all_again() -> list[UpFrame] | None:
            again = [f for f in bench.events(since) if f.replayed and f.seq <= wanted.last]
            return again if {f.seq for f in again} >= {f.seq for f in first} else None

        again = bench.wire.wait(all_again, bench.patience.answer_s, "the events that were asked for, flagged replayed")
        if not in_order(again):
            raise BrokenRequirement("what was asked for again did not come oldest first")
    finally:
        bench.acknowledges = True
        bench.acknowledge()


def gone(bench: Bench) -> None:
    """7.4: an event that was acknowledged comes again, or is said to be lost."""
    bench.need_alone()
    bench.inventory()
    frame = bench.events()[0]
    since = bench.mark
    bench.resend(JournalRange(boot=frame.boot, first=frame.seq, last=frame.seq))

    def settled() -> bool | None:
        lost = any(m.boot == frame.boot and m.first <= frame.seq <= m.last for _, m in bench.frames(JournalLost, since))
        return lost or any(f.seq == frame.seq for f in bench.events(since) if f.replayed) or None

    bench.wire.wait(settled, bench.patience.answer_s, "the event again, or journal_lost for it")


def well_formed(bench: Bench) -> None:
    broken = [each for each in bench.wire.row if each.error is not None]
    if broken:
        raise BrokenRequirement(f"{len(broken)} frames cannot be read, the first: {broken[0].error}")


def events_count_on(bench: Bench) -> None:
    for boot in {frame.boot for frame in bench.events()}:
        seqs = sorted({frame.seq for frame in bench.events() if frame.boot == boot})
        lost = [m for _, m in bench.frames(JournalLost) if m.boot == boot]
        missing = [
            seq
            for seq in range(seqs[0], seqs[-1])
            if seq not in set(seqs) and not any(m.first <= seq <= m.last for m in lost)
        ]
        if missing:
            raise BrokenRequirement(f"events {missing[:10]} of boot {boot} never came")


def samples_count_on(bench: Bench) -> None:
    samples = bench.samples()
    for boot in {frame.boot for frame in samples}:
        own = [frame for frame in samples if frame.boot == boot]
        if not in_order(own):
            raise BrokenRequirement(f"samples of boot {boot} did not rise: {[frame.seq for frame in own][:20]}")


def one_fact_for_ever(bench: Bench) -> None:
    told: dict[tuple[int, int], UpFrame] = {}
    for frame in bench.events():
        known = told.setdefault((frame.boot, frame.seq), frame)
        if (known.at_ms, known.message) != (frame.at_ms, frame.message):
            raise BrokenRequirement(f"boot {frame.boot}, seq {frame.seq} was told with other words")


def one_result_each(bench: Bench) -> None:
    for command_id, times in bench.sent.items():
        results = len(bench.results(command_id))
        if results > times:
            raise BrokenRequirement(f"{results} results of {command_id}, which was sent {times} times")


KEEPING: Final = (
    Check("7.4", "resend: the same events, flagged replayed, oldest first", sent_again),
    Check("7.4", "resend of what is gone: again all the same, or journal_lost", gone),
)
ALWAYS: Final = (
    Check("4.1", "Every frame of this run can be read", well_formed),
    Check("5.3", "Events count on without a gap within a boot", events_count_on),
    Check("5.3", "Samples count apart, rising", samples_count_on),
    Check("5.4", "One (boot, seq) is one fact, however often it is told", one_fact_for_ever),
    Check("8.6", "No command has more results than it was sent", one_result_each),
)
