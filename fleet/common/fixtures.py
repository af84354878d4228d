"""Initial data: one JSON file, of which each area loads its own key, as often as one likes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country

#: Which area loads which key: common, config, payments, rentals, telemetry.
KEYS = ("countries", "config", "tax_rates", "tariffs", "packages", "alert_rules")

_COUNTRY = ("iso_code", "name", "dial_code", "currency", "locale", "time_zone", "active")


def read(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The file's lists by key; a key that is not there is an empty list. Raises InvalidInput, OSError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{path.name} is not JSON: {error}") from error
    if not isinstance(data, dict) or not all(isinstance(rows, list) for rows in data.values()):
        raise InvalidInput(f"{path.name} is an object of lists")
    unknown = sorted(set(data) - set(KEYS))
    if unknown:
        raise InvalidInput(f"{path.name} has unknown keys: {', '.join(unknown)}")
    return {key: data.get(key, []) for key in KEYS}


def load_countries(session: Session, rows: Iterable[dict[str, Any]]) -> int:
    """Add countries, or bring those that are there up to date; returns how many rows the fixture has."""
    values = [{name: row.get(name, True) if name == "active" else row[name] for name in _COUNTRY} for row in rows]
    if values:
        statement = insert(Country).values(values)
        changed = {name: statement.excluded[name] for name in _COUNTRY if name not in {"iso_code", "active"}}
        session.execute(statement.on_conflict_do_update(index_elements=["iso_code"], set_=changed))
    return len(values)
