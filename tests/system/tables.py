"""What a database says in the end, in a form in which two of them can be compared."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, text


@dataclass(frozen=True, slots=True)
class View:
    """A table without the columns that may differ, and `only` the rows that a condition names."""

    table: str
    without: frozenset[str] = frozenset()
    only: str = "true"


def view(table: str, *without: str, only: str = "true") -> View:
    return View(table, frozenset(without), only)


@dataclass(frozen=True, slots=True)
class Row:
    """`facts` must be equal; `times` must be near each other."""

    facts: str
    times: tuple[tuple[str, datetime | None], ...]


def contents(engine: Engine, views: tuple[View, ...]) -> Mapping[str, list[Row]]:
    """Every view's rows in an order of their own contents. Banks are named by serial: their ids are surrogates."""
    with engine.connect() as connection:
        banks = connection.execute(text("SELECT id, serial FROM power_bank"))
        serials: dict[int, str] = {bank.id: bank.serial for bank in banks}
        found = {}
        for each in views:
            query = text(f"SELECT to_jsonb(t) FROM {each.table} t WHERE {each.only}")
            rows = [_row(row, each.without, serials) for row in connection.scalars(query)]
            found[f"{each.table} where {each.only}"] = sorted(rows, key=lambda row: (row.facts, str(row.times)))
    return found


def _row(row: dict[str, Any], without: frozenset[str], serials: Mapping[int, str]) -> Row:
    facts, times = {}, []
    for name, value in sorted(row.items()):
        if name in without:
            continue
        if name.endswith(("_at", "_until", "_since", "deadline")) or name == "at":
            times.append((name, _instant(value)))
        elif name in {"power_bank_id", "told_bank_id"}:
            facts[name] = serials.get(value)
        else:
            facts[name] = value
    return Row(json.dumps(facts, sort_keys=True), tuple(times))


def _instant(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def differences(one: Mapping[str, list[Row]], other: Mapping[str, list[Row]], tolerance: timedelta) -> list[str]:
    """What is not the same, in words. The same instant may lie apart by `tolerance`."""
    found = []
    for table, rows in one.items():
        facts, others = [row.facts for row in rows], [row.facts for row in other[table]]
        if facts != others:
            found += [f"{table}: only in the first: {each}" for each in facts if each not in others]
            found += [f"{table}: only in the second: {each}" for each in others if each not in facts]
            if len(facts) != len(others):
                found.append(f"{table}: {len(facts)} rows and {len(others)} rows")
            continue
        found += [
            f"{table}: {name} {time} and {then} of {row.facts}"
            for row, twin in zip(rows, other[table], strict=True)
            for (name, time), (_, then) in zip(row.times, twin.times, strict=True)
            if not _near(time, then, tolerance)
        ]
    return found


def _near(one: datetime | None, other: datetime | None, tolerance: timedelta) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= tolerance
