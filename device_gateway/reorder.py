"""The slow way of events: behind a gap, late, repeated, of an earlier boot, or next to one of those."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from device_gateway import dialects
from device_gateway.directory import StationRef
from device_gateway.ingest import reject as keep_rejected
from device_gateway.intake import Arrived, reject
from device_gateway.received import Received
from device_gateway.work import Work
from firmware_protocol import topics
from firmware_protocol.channels import type_name
from firmware_protocol.commands import Resend
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.errors import ProtocolError
from firmware_protocol.limits import MAX_JOURNAL_RANGES
from firmware_protocol.messages import JournalLost, JournalRange
from firmware_protocol.topics import UpKind
from fleet.devices import inbox, sessions, streams
from fleet.devices.cursor import Cursor, follow_acked, give_up, missing, release
from fleet.devices.dead_letters import Rejected
from fleet.devices.inbox import Key

#: One (boot, seq) for two facts (protocol 5.4).
CONTRADICTION: Final = "contradiction"
#: How long a cabinet that contradicts itself may take to hear that it must restart.
RESTART_WITHIN: Final = timedelta(seconds=60)
#: Boots at once in one station's line, of which each holds back the next; more means that something is very wrong.
_NOTHING: Final[list[Cursor]] = []


class Reorder:
    """Some stations of one transaction. Their open streams are locked and in `lines`, by rising boot."""

    def __init__(self, work: Work, lines: dict[int, list[Cursor]], *, replaying: bool = False) -> None:
        self._work = work
        self._lines = lines
        self._replaying = replaying
        #: Streams that events or losses name and that are closed.
        self._closed: dict[streams.Key, Cursor] = {}
        self._waiting: dict[int, dict[int, set[int]]] = {}

    def run(
        self,
        events: Sequence[Arrived],
        lost: Sequence[Arrived],
        stations: Collection[int],
        *,
        give_up_before: datetime | None = None,
        resend_before: datetime | None = None,
    ) -> None:
        """Store `events`, apply all that may be applied, and write the streams of `stations` back.

        Gaps older than `give_up_before` are given up; those older than `resend_before` are asked for, once.
        """
        self._find_closed(events, lost)
        for each in lost:
            self._declare_lost(each)
        self._load_waiting(stations)
        fresh = self._fresh(events)
        late = self._take_in(fresh)
        ready = sorted(late)
        for station_id in sorted(stations):
            ready += self._release(station_id, give_up_before)
        self._store(fresh, ready)
        self._apply(fresh, ready)
        self._acknowledge(fresh)
        self._ask_again(resend_before)
        streams.save(self._work.session, list(self._cursors()))

    def _cursors(self) -> Iterable[Cursor]:
        for line in self._lines.values():
            yield from line
        yield from self._closed.values()

    def _cursor(self, station_id: int, boot: int) -> Cursor | None:
        line = self._lines.get(station_id, _NOTHING)
        found = next((cursor for cursor in line if cursor.boot == boot), None)
        return found or self._closed.get((station_id, boot))

    def _find_closed(self, events: Sequence[Arrived], lost: Sequence[Arrived]) -> None:
        named = {(each.station.id, _boot_of(each)) for each in (*events, *lost)}
        absent = sorted(key for key in named if self._cursor(*key) is None)
        self._closed = streams.lock_named(self._work.session, absent)

    def _declare_lost(self, each: Arrived) -> None:
        message = each.frame.message
        assert isinstance(message, JournalLost)
        cursor = self._cursor(each.station.id, message.boot)
        if cursor is not None:
            cursor.declare_lost(message.first, message.last)

    def _load_waiting(self, stations: Collection[int]) -> None:
        line_of = {station_id: self._lines.get(station_id, _NOTHING) for station_id in stations}
        self._waiting = {each: {cursor.boot: set() for cursor in line} for each, line in line_of.items()}
        above = [(c.station_id, c.boot, c.applied) for line in line_of.values() for c in line]
        for station_id, boot, seq in inbox.waiting(self._work.session, above):
            self._waiting[station_id][boot].add(seq)

    def _fresh(self, events: Sequence[Arrived]) -> dict[Key, Arrived]:
        """Those that are not stored yet, each once."""
        work = self._work
        found: dict[Key, Arrived] = {}
        repeated: list[tuple[Key, Arrived]] = []
        for each in events:
            key = (each.station.id, each.frame.boot, each.frame.seq)
            if key in found:
                repeated.append((key, each))
            else:
                found[key] = each
        known = inbox.known(work.session, list(found))
        first = dict(found)
        for key in list(found):
            # A replay is of an event that is stored and could not be applied.
            again = known[key] or not self._replaying if key in known else self._forgotten(key)
            if again:
                repeated.append((key, found.pop(key)))
        work.tally.duplicates.update(_tag(each) for _, each in repeated)
        if repeated:
            self._keep_contradictions(repeated, first, known)
        return found

    def _keep_contradictions(
        self, repeated: Sequence[tuple[Key, Arrived]], first: Mapping[Key, Arrived], known: Collection[Key]
    ) -> None:
        """What has the number of another fact changes nothing, and is not lost without a trace."""
        work = self._work
        stored = {
            (row.station_id, row.boot, row.seq): row
            for row in inbox.load(work.session, {key for key, _ in repeated if key in known})
        }
        rejected = []
        two: set[int] = set()
        for key, each in repeated:
            row, one = stored.get(key), first[key]
            if row is not None and row.raw != each.received.payload:
                one = arrived_from_inbox(each.station, row.raw, row.received_at)
            if one.frame.message != each.frame.message:
                reason = f"boot {key[1]}, seq {key[2]} is stored already, and tells of something else"
                rejected.append(reject(each.received, CONTRADICTION, reason, each.station))
                line = self._lines.get(key[0], _NOTHING)
                if line and line[-1].boot == key[1]:  # what an older boot told is told again by nobody who counts now
                    two.add(key[0])
        if self._replaying:  # it is among the dead letters already, and stays there
            work.applier.refused += rejected
            work.tally.dead.update(each.error_code for each in rejected)
        else:
            keep_rejected(work.session, rejected, work.tally)
            sessions.part(work.session, two, work.now, deadline=work.now + RESTART_WITHIN)

    def _forgotten(self, key: Key) -> bool:
        """It was stored once, and its row has been cleaned away since."""
        cursor = self._cursor(key[0], key[1])
        return cursor is not None and key[2] <= cursor.acked and not cursor.is_lost(key[2])

    def _take_in(self, fresh: dict[Key, Arrived]) -> list[Key]:
        """Note what came; returns those whose turn has passed: applied at once, the services' guards see to that."""
        late: list[Key] = []
        for key, each in fresh.items():
            station_id, boot, seq = key
            cursor = self._cursor(station_id, boot)
            assert cursor is not None  # made before the transaction
            if not each.frame.replayed:
                cursor.observe_clock(each.frame.at_ms, round(each.received.at * 1000))
            cursor.seen = max(cursor.seen, seq)
            if cursor.closed_at is not None or seq <= cursor.applied:
                late.append(key)
                cursor.applied = max(cursor.applied, seq)
                continue
            if cursor.last_seq is not None:
                cursor.last_seq = max(cursor.last_seq, seq)
            self._waiting[station_id][boot].add(seq)
        self._work.tally.late += len(late)
        return late

    def _release(self, station_id: int, give_up_before: datetime | None) -> list[Key]:
        line, waiting = self._lines.get(station_id, _NOTHING), self._waiting[station_id]
        if not line:
            return []
        if give_up_before is not None:
            for cursor in line:
                stuck = waiting[cursor.boot] or cursor is not line[-1]
                if stuck and cursor.gap_since is not None and cursor.gap_since <= give_up_before:
                    give_up(cursor, waiting[cursor.boot])
                    self._work.tally.given_up += 1
        return [(station_id, boot, seq) for boot, seq in release(line, waiting, self._work.now)]

    def _store(self, fresh: dict[Key, Arrived], ready: list[Key]) -> None:
        work, turn = self._work, set(ready)
        known = inbox.known(work.session, list(fresh)) if self._replaying else {}
        for key, each in fresh.items():
            if key not in known:
                work.store(_tag(each), each, applied=key in turn)
        inbox.insert(work.session, work.rows)
        work.rows.clear()
        stored = [key for key in ready if key not in fresh or key in known]
        inbox.mark_applied(work.session, stored, work.now)

    def _apply(self, fresh: dict[Key, Arrived], ready: list[Key]) -> None:
        work = self._work
        stored = self._load([key for key in ready if key not in fresh])
        for key in ready:
            cursor = self._cursor(key[0], key[1])
            assert cursor is not None
            each = fresh.get(key) or stored.get(key)
            if each is not None:
                work.tally.applied[_tag(each)] += 1
                work.apply(each, cursor, self._lines.get(key[0], _NOTHING))

    def _load(self, keys: list[Key]) -> dict[Key, Arrived]:
        """Events that waited, decoded again from their bytes. One that another version of this program took in, and
        this one cannot read, goes to the dead letters alone.
        """
        work = self._work
        work.directory.learn_ids(work.session, {key[0] for key in keys})
        found: dict[Key, Arrived] = {}
        unread: dict[Key, Rejected] = {}
        for row in inbox.load(work.session, keys):
            ref = work.directory.by_id(row.station_id)
            assert ref is not None
            key = row.station_id, row.boot, row.seq
            try:
                found[key] = arrived_from_inbox(ref, row.raw, row.received_at)
            except ProtocolError as error:
                unread[key] = reject(received_from_inbox(ref, row.raw, row.received_at), error.code, str(error), ref)
        if unread:
            keep_rejected(work.session, list(unread.values()), work.tally)
            inbox.mark_applied(work.session, list(unread), None)
        return found

    def _acknowledge(self, fresh: dict[Key, Arrived]) -> None:
        work = self._work
        for cursor in self._cursors():
            following = cursor.acked + 1
            # Otherwise the hole above `acked` is where it was.
            if (cursor.station_id, cursor.boot, following) in fresh or cursor.is_lost(following):
                stored = inbox.stored_above(work.session, cursor.station_id, cursor.boot, cursor.acked)
                follow_acked(cursor, stored)
            ref = work.directory.by_id(cursor.station_id)
            if ref is not None and cursor.acked:
                work.outbound.acks[ref.code, cursor.boot] = cursor.acked

    def _ask_again(self, before: datetime | None) -> None:
        if before is None:
            return
        for cursor in self._cursors():
            if cursor.gap_since is None or cursor.gap_since > before or cursor.resend_asked_at is not None:
                continue
            cursor.resend_asked_at = self._work.now
            waiting = self._waiting[cursor.station_id][cursor.boot]
            ranges = missing(cursor, waiting, MAX_JOURNAL_RANGES)
            ref = self._work.directory.by_id(cursor.station_id)
            if ranges and ref is not None:
                asked = tuple(JournalRange(boot=cursor.boot, first=first, last=last) for first, last in ranges)
                self._work.outbound.control(ref, Resend(ranges=asked))
                self._work.tally.resends += 1


def _tag(each: Arrived) -> str:
    return type_name(type(each.frame.message))


def _boot_of(each: Arrived) -> int:
    message = each.frame.message
    return message.boot if isinstance(message, JournalLost) else each.frame.boot


def received_from_inbox(station: StationRef, raw: bytes, received_at: datetime) -> Received:
    return Received(topics.up(station.code, UpKind.EVENT), raw, None, 0, 0, 0, received_at.timestamp())


def arrived_from_inbox(station: StationRef, raw: bytes, received_at: datetime) -> Arrived:
    received = received_from_inbox(station, raw, received_at)
    # Events of vendors' cabinets never wait: what waits is native, whatever cabinet the station has by now.
    return Arrived(dialects.DIALECTS.get(station.dialect, NATIVE).decode(received.topic, raw), received, station)
