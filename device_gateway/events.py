"""Journaled events: into the inbox once, and on in the order of (boot, seq).

The usual event follows the last one of its station's only open boot: it costs one row and moves a counter.
Whatever is not so simple goes through `Reorder`, and with it everything else of that station.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from device_gateway.intake import Arrived
from device_gateway.reorder import Reorder
from device_gateway.work import Work
from firmware_protocol.channels import type_name
from fleet.devices import inbox, streams
from fleet.devices.cursor import Cursor


def take(work: Work, events: Sequence[Arrived], lost: Sequence[Arrived] = (), *, replaying: bool = False) -> None:
    """Store events and apply those whose turn it is, with all that waited for them.

    Their stations are known and their streams exist. The caller commits, and then sends `work.outbound`.
    """
    stations = {each.station.id for each in (*events, *lost)}
    if not stations:
        return
    lines = streams.lock_open(work.session, sorted(stations))
    slow = {each.station.id for each in lost}
    moved, hard = _easy(work, events, lines, slow, replaying=replaying)
    inbox.insert(work.session, work.rows)
    work.rows.clear()
    slow |= {each.station.id for each in hard}
    if slow:
        Reorder(work, {each: lines.get(each, []) for each in slow}, replaying=replaying).run(hard, lost, slow)
    streams.save_level(work.session, [cursor for key, cursor in moved.items() if key not in slow])
    work.applier.finish()


def unblock(
    work: Work,
    stations: Collection[int],
    *,
    give_up_before: datetime | None = None,
    resend_before: datetime | None = None,
) -> None:
    """Look again at stations whose waiting events may be free, or have waited too long."""
    if not stations:
        return
    work.directory.learn_ids(work.session, stations)
    lines = streams.lock_open(work.session, sorted(stations))
    reorder = Reorder(work, {each: lines.get(each, []) for each in stations})
    reorder.run((), (), stations, give_up_before=give_up_before, resend_before=resend_before)
    work.applier.finish()


def _easy(
    work: Work, events: Sequence[Arrived], lines: dict[int, list[Cursor]], slow: set[int], *, replaying: bool
) -> tuple[dict[int, Cursor], list[Arrived]]:
    """Take every event that simply follows; returns the streams it moved, and the events that do not follow."""
    level = {
        station_id: line[0]
        for station_id, line in lines.items()
        if len(line) == 1 and line[0].level and station_id not in slow and not replaying
    }
    moved: dict[int, Cursor] = {}
    hard: list[Arrived] = []
    tags: dict[type, str] = {}
    acks, applied = work.outbound.acks, work.tally.applied
    for each in events:
        frame, received, ref = each
        cursor = level.get(ref.id)
        if cursor is None or cursor.boot != frame.boot or frame.seq != cursor.seen + 1:
            level.pop(ref.id, None)
            hard.append(each)
            continue
        cursor.follow(frame.seq)
        if not frame.replayed:
            cursor.observe_clock(frame.at_ms, int(received.at * 1000))
        kind = type(frame.message)
        tag = tags.get(kind)
        if tag is None:
            tag = tags[kind] = type_name(kind)
        work.store(tag, each, applied=True)
        work.apply(each, cursor)
        moved[ref.id] = cursor
        acks[ref.code, frame.boot] = cursor.acked
        applied[tag] += 1
    return moved, hard
