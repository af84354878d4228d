"""The tariffs of an initial-data file (fleet/common/fixtures.py)."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.rentals.models import Tariff

_AMOUNTS: Final = (
    "unlock_minor",
    "interval_minor",
    "daily_cap_minor",
    "total_cap_minor",
    "hold_minor",
)
#: Column and the member of the file that holds it, in minutes.
_DURATIONS: Final = {
    "free_period": "free_minutes",
    "interval_length": "interval_minutes",
    "overdue_after": "overdue_after_minutes",
}


def load_tariffs(session: Session, rows: Iterable[dict[str, Any]], now: datetime) -> int:
    """Add the tariffs whose name is not there yet, valid from `now`; returns how many. Raises InvalidInput.

    What an operator has changed since is left alone.
    """
    known = set(session.scalars(select(Tariff.name)))
    fresh = [row for row in rows if row.get("name") not in known]
    session.add_all([_tariff(row, now) for row in fresh])
    return len(fresh)


def _tariff(row: dict[str, Any], now: datetime) -> Tariff:
    try:
        return Tariff(
            name=row["name"],
            currency=row["currency"],
            city=row.get("city"),
            country=row.get("country"),
            valid_from=now,
            **{name: int(row[name]) for name in _AMOUNTS},
            **{column: timedelta(minutes=row[member]) for column, member in _DURATIONS.items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"tariff {row.get('name')!r}: {error!r}", field="tariffs") from error
