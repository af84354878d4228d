"""Cursors, Prefer, instants: the parts that need no server."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from api.paging import Cursors
from api.prefer import MAX_WAIT_S, wait_seconds
from api.schemas import Instant
from fleet.common.errors import InvalidInput


@given(st.one_of(st.integers(), st.text(), st.lists(st.text())))
def test_cursor_comes_back(value: object) -> None:
    cursors = Cursors(b"secret")
    assert cursors.read("stations", cursors.make("stations", value)) == value


def test_no_cursor_is_the_beginning() -> None:
    assert Cursors(b"secret").read("stations", None) is None


def test_cursor_of_another_list_or_key_is_refused() -> None:
    cursor = Cursors(b"secret").make("stations", 7)
    for cursors, of in ((Cursors(b"secret"), "rentals"), (Cursors(b"other"), "stations")):
        with pytest.raises(InvalidInput):
            cursors.read(of, cursor)


@given(st.text(max_size=60))
def test_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Cursors(b"secret").read("stations", text)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("wait=5", 5),
        ("respond-async, wait=10", 10),
        ('WAIT = "7"', 7),
        ("wait=999", MAX_WAIT_S),
        ("wait=abc", 0),
        ("await=5", 0),
        ("wait=-5", 0),
        ("wait=5x", 0),
    ],
)
def test_prefer_wait(header: str | None, seconds: int) -> None:
    assert wait_seconds(header) == seconds


class At(BaseModel):
    at: Instant


def test_instants_are_written_in_utc_with_z() -> None:
    at = datetime(2026, 11, 23, 13, 0, 0, 500_000, tzinfo=timezone(timedelta(hours=1)))
    assert At(at=at).model_dump_json() == '{"at":"2026-11-23T12:00:00.500Z"}'
    assert At.model_validate_json('{"at":"2026-11-23T13:00:00+01:00"}').at == datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_instant_without_offset_is_refused() -> None:
    with pytest.raises(ValidationError):
        At.model_validate_json('{"at":"2026-11-23T13:00:00"}')
