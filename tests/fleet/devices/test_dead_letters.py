"""Frames that were refused: each kept once, in one statement for many."""

from collections.abc import Sequence
from datetime import datetime

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.devices import dead_letters
from fleet.devices.dead_letters import Rejected
from fleet.devices.models import DeadLetter, DeadLetterState


def refused(payload: bytes, now: datetime, *, code: str = "malformed", station: str | None = "VB-1") -> Rejected:
    return Rejected("vb/v1/VB-1/up/event\0", station, payload, None, code, 'a "reason" of \\ and \0', now)


def kept(session: Session) -> list[DeadLetter]:
    return list(session.scalars(select(DeadLetter).order_by(DeadLetter.id)))


def test_what_waits_already_is_kept_once_and_what_differs_in_anything_is_not_the_same(
    session: Session, now: datetime
) -> None:
    letters = [
        refused(b"\x00a", now),
        refused(b"\x00a", now),
        refused(b"", now),
        refused(b"\x00a", now, code="checksum"),
        refused(b"\x00a", now, station=None),
        refused(b"\x00a", now, station="VB-2"),
    ]
    for _ in range(2):
        dead_letters.record_all(session, letters)
    found = kept(session)
    assert [(bytes(each.payload), each.error_code, each.station_code) for each in found] == [
        (b"\x00a", "malformed", "VB-1"),
        (b"", "malformed", "VB-1"),
        (b"\x00a", "checksum", "VB-1"),
        (b"\x00a", "malformed", None),
        (b"\x00a", "malformed", "VB-2"),
    ]
    assert (found[0].topic, found[0].error, found[0].received_at) == (
        "vb/v1/VB-1/up/event\\0",
        'a "reason" of \\ and \\0',
        now,
    )


def test_once_somebody_has_looked_the_same_frame_is_news(session: Session, now: datetime) -> None:
    dead_letters.record(session, refused(b"x", now))
    (first,) = kept(session)
    dead_letters.request_replay(session, first.id)
    dead_letters.record(session, refused(b"x", now))
    assert len(kept(session)) == 1
    dead_letters.discard(session, first.id)
    session.flush()
    dead_letters.record(session, refused(b"x", now))
    assert [each.state for each in kept(session)] == [DeadLetterState.DISCARDED, DeadLetterState.WAITING]


def test_thousands_cost_a_statement_for_hundreds_and_large_ones_for_fewer(
    session: Session, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    insert = dead_letters._insert

    def noted(session: Session, part: Sequence[Rejected]) -> None:
        sizes.append(len(part))
        insert(session, part)

    monkeypatch.setattr(dead_letters, "_insert", noted)
    dead_letters.record_all(session, [refused(f"{n}".encode(), now) for n in range(1200)])
    dead_letters.record_all(session, [refused(bytes([n]) * 2**20, now) for n in range(5)])
    assert sizes == [500, 500, 200, 2, 2, 1]
    assert session.scalar(select(func.count()).select_from(DeadLetter)) == 1205
