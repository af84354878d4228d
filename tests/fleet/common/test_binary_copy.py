"""What binary COPY brings into PostgreSQL is what the columns said."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.orm import Session

from fleet.common import binary_copy
from fleet.common.binary_copy import Kind, microseconds
from fleet.common.bulk import copy_binary, raw_cursor

TABLE = {
    "ok": Kind.BOOLEAN,
    "small": Kind.SMALLINT,
    "plain": Kind.INTEGER,
    "big": Kind.BIGINT,
    "rough": Kind.REAL,
    "at": Kind.INSTANT,
}
LATE = datetime.max.replace(tzinfo=UTC)
EARLY = datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
Row = tuple[bool | None, int | None, int | None, int | None, float | None, datetime | None]


def copied(session: Session, rows: list[Row]) -> list[Row]:
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns[-1] = [None if at is None else microseconds(at) for at in columns[-1]]
    with raw_cursor(session) as cursor:
        cursor.execute(
            "CREATE TEMP TABLE copied (ok boolean, small smallint, plain integer, big bigint, rough real,"
            " at timestamptz) ON COMMIT DROP"
        )
        copy_binary(cursor, "copied", TABLE, binary_copy.rows(tuple(TABLE.values()), columns))
        cursor.execute("SELECT * FROM copied")
        found: list[Row] = cursor.fetchall()
    return found


def test_extremes_arrive(session: Session) -> None:
    rows: list[Row] = [
        (True, 2**15 - 1, 2**31 - 1, 2**63 - 1, 0.5, LATE),
        (False, -(2**15), -(2**31), -(2**63), -1.25e30, EARLY),
        (True, 0, 1, -1, 22, datetime(2000, 1, 1, tzinfo=UTC)),
    ]
    assert copied(session, rows) == rows


def test_whatever_is_missing_is_null(session: Session) -> None:
    """Every one of the 64 patterns of missing fields, mixed."""
    whole = (True, 7, 70, 700, 0.5, LATE)
    rows: list[Row] = [
        tuple(None if number >> place & 1 else value for place, value in enumerate(whole))  # type: ignore[misc]  # six of them
        for number in [*range(64), *range(64)]
    ]
    assert sorted(copied(session, rows), key=str) == sorted(rows, key=str)


def test_a_large_batch_goes_in_at_once(session: Session) -> None:
    rows: list[Row] = [(number % 2 == 0, number % 100, number, number << 30, 1.5, LATE) for number in range(20_000)]
    assert copied(session, rows) == rows


def test_nothing_is_no_copy(session: Session) -> None:
    nothing = binary_copy.rows(tuple(TABLE.values()), [[]] * len(TABLE))
    assert nothing == b""
    with raw_cursor(session) as cursor:
        copy_binary(cursor, "no_such_table", TABLE, nothing)


def test_what_does_not_fit_its_column_is_refused() -> None:
    with pytest.raises(OverflowError):
        binary_copy.rows([Kind.SMALLINT], [[2**15]])
    with pytest.raises(OverflowError):
        binary_copy.rows([Kind.SMALLINT], [[None, 2**15]])
