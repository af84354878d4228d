"""Statements that are built once, inside a session that has things of its own to write."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Integer, any_, bindparam, event, insert, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from fleet.common.models import OutboxEvent
from fleet.common.prepared import ByKey, Prepared, table_of, write
from tests.conftest import NOON

_EVENT = ByKey(OutboxEvent)
_NAMES = Prepared(
    select(OutboxEvent.name).where(OutboxEvent.id == any_(bindparam("ids", type_=ARRAY(Integer())))), planned=True
)
_INSERT = insert(table_of(OutboxEvent)).returning(OutboxEvent.id)


def _event(session: Session, name: str = "a") -> OutboxEvent:
    found = OutboxEvent(name=name, payload={}, created_at=NOON)
    session.add(found)
    session.flush()
    return found


def test_by_key_gives_the_object_that_the_session_has_and_asks_nobody(session: Session) -> None:
    known = _event(session)
    asked: list[Any] = []
    event.listen(session.connection(), "before_cursor_execute", lambda *args: asked.append(args[2]))
    assert _EVENT.get(session, known.id) is known
    assert not asked


def test_by_key_asks_for_what_is_unknown_or_was_expired(session: Session) -> None:
    known = _event(session)
    session.expire(known)
    assert _EVENT.get(session, known.id) is known
    assert known.name == "a"
    session.expunge(known)
    again = _EVENT.get(session, known.id)
    assert again is not None
    assert (again is known, again.name) == (False, "a")
    assert _EVENT.get(session, 2**40) is None


def test_a_list_is_one_array_however_long_it_is(session: Session) -> None:
    ids = [_event(session, name).id for name in ("a", "b", "c")]
    assert sorted(row.name for row in _NAMES.all(session, ids=ids)) == ["a", "b", "c"]
    assert [row.name for row in _NAMES.all(session, ids=ids[1:2])] == ["b"]
    assert _NAMES.all(session, ids=[]) == []


def test_what_the_session_changed_is_seen(session: Session) -> None:
    known = _event(session)
    known.name = "b"
    assert [row.name for row in _NAMES.all(session, ids=[known.id])] == ["b"]


def test_write_makes_a_row_in_the_session_s_transaction(session: Session) -> None:
    later = NOON + timedelta(hours=1)
    key = write(session, _INSERT, {"name": "a", "payload": {"x": [1]}, "created_at": later})
    row = session.get(OutboxEvent, key)
    assert row is not None
    assert (row.payload, row.created_at, row.attempts) == ({"x": [1]}, later, 0)


def test_write_comes_after_what_the_session_was_given_unless_told_otherwise(session: Session) -> None:
    first, second = (OutboxEvent(name=name, payload={}, created_at=NOON) for name in "ab")
    session.add(first)
    values = {"name": "c", "payload": {}, "created_at": NOON}
    written = write(session, _INSERT, values)
    assert first.id < written
    session.add(second)
    written = write(session, _INSERT, values, flush=False)
    session.flush()
    assert written < second.id


def test_a_list_of_values_is_refused_when_it_is_built() -> None:
    with pytest.raises(ValueError, match="a list of values"):
        Prepared(select(OutboxEvent.name).where(OutboxEvent.id.in_([1, 2])))
