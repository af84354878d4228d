"""Array literals say to PostgreSQL what the list said."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy.orm import Session

from fleet.common.bulk import array, booleans, instants, raw_cursor, words

WHOLE = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
PART = datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))


@pytest.mark.parametrize(
    ("kind", "literal", "values"),
    [
        ("bigint", array, [0, -1, 2**63 - 1, -(2**63), None]),
        ("float8", array, [0.1, -1e-300, 1.7976931348623157e308, 5e-324, 22, None]),
        ("int", array, []),
        ("bool", booleans, [True, False, None]),
        ("timestamptz", instants, [WHOLE, PART, datetime.max.replace(tzinfo=UTC), None]),
        ("text", words, ["", "a b", "null", 'say "yes"', "back\\slash", "{}", "é\n\t☂"]),
    ],
)
def test_array_comes_back_as_it_was(session: Session, kind: str, literal: Any, values: list[object]) -> None:
    with raw_cursor(session) as cursor:
        cursor.execute(f"SELECT %s::{kind}[]", (literal(values),))
        assert cursor.fetchone() == (values,)
