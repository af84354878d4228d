"""What operators say of a station before it exists, and what is wrong with it."""

import csv
import io
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from zoneinfo import available_timezones

import h3

from firmware_protocol.limits import MAX_SLOTS
from fleet.common.errors import InvalidInput
from fleet.common.texts import NO_TEXT, unkeepable

CODE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: Also a level of MQTT topics and part of a user name: nothing in it may mean anything there.
HARDWARE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
SERIAL: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
#: Degrees are kept to about a centimetre. PostgreSQL refuses to square a difference that is all but zero.
POSITION_DIGITS: Final = 7
#: Cells of about 0.7 km².
H3_RESOLUTION: Final = 8
_ZONES: Final = frozenset(available_timezones())
_TEXT_MAX: Final = {"name": 200, "address": 300, "city": 100, "dialect": 32, "hardware_model": 100}
#: Columns of an import and the fields they fill; the first name is the documented one.
_COLUMNS: Final = {
    "code": ("code",),
    "name": ("name",),
    "latitude": ("latitude", "lat"),
    "longitude": ("longitude", "lon", "lng"),
    "slots": ("slots",),
    "address": ("address",),
    "city": ("city",),
    "country": ("country",),
    "dialect": ("dialect",),
    "time_zone": ("time_zone",),
    "hardware_model": ("hardware_model",),
    "hardware_id": ("hardware_id", "device_uuid", "imei", "box_id"),
}
_NUMBERS: Final[dict[str, type[int] | type[float]]] = {"latitude": float, "longitude": float, "slots": int}


@dataclass(frozen=True, slots=True)
class StationSpec:
    code: str
    name: str
    latitude: float
    longitude: float
    slots: int
    address: str | None = None
    city: str | None = None
    country: str | None = None
    dialect: str = "native"
    time_zone: str = "UTC"
    hardware_model: str | None = None
    #: What a vendor's cabinet calls itself: IMEI or MAC (Volinks), box id (Relink). Unique in the fleet.
    hardware_id: str | None = None


@dataclass(frozen=True, slots=True)
class ImportProblem:
    """Why a row (counted from 1) changed nothing."""

    row: int
    code: str | None
    field: str | None
    message: str

    def at(self, row: int) -> "ImportProblem":
        return replace(self, row=row)


@dataclass(slots=True)
class ImportReport:
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    problems: list[ImportProblem] = field(default_factory=list)

    def note(self, row: int, outcome: ImportProblem | bool) -> None:
        """Count an existing station: changed or not, or refused."""
        if isinstance(outcome, ImportProblem):
            self.problems.append(outcome.at(row))
        elif outcome:
            self.updated += 1
        else:
            self.unchanged += 1


@dataclass(frozen=True, slots=True)
class AddReport:
    added: int
    already_known: int


def h3_cell(latitude: float, longitude: float) -> int:
    """The cell's index as a signed 64-bit integer, as the database keeps it."""
    index = int(h3.str_to_int(h3.latlng_to_cell(latitude, longitude, H3_RESOLUTION)))
    return index - 2**64 if index >= 2**63 else index


def read_rows(body: bytes, *, as_csv: bool) -> list[dict[str, Any]]:
    """The rows of an import, CSV with a header or a JSON list of objects. Raises InvalidInput."""
    try:
        text = body.decode("utf-8-sig")
        if as_csv:
            return list(csv.DictReader(io.StringIO(text), strict=True))
        found = json.loads(text)
    except (ValueError, RecursionError, csv.Error) as error:
        raise InvalidInput(f"this can be read neither as CSV nor as JSON: {error}", field="body") from error
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InvalidInput("a JSON import is a list of objects", field="body")
    return found


def parse_row(row: Mapping[str, object], dialects: Collection[str] = ()) -> StationSpec | ImportProblem:
    """A row of a CSV or JSON import; empty cells count as absent, unknown columns are left alone. `dialects`: those
    that this build speaks; none: it does not matter.
    """
    values: dict[str, Any] = {}
    for name, columns in _COLUMNS.items():
        text = next(filter(None, (_cell(row.get(column)) for column in columns)), "")
        if not text:
            continue
        if unkeepable(text):
            return ImportProblem(0, values.get("code"), name, NO_TEXT)
        try:
            values[name] = _NUMBERS[name](text) if name in _NUMBERS else text
        except ValueError:
            return ImportProblem(0, values.get("code"), name, f"{text!r} is not a number")
    missing = [name for name in ("code", "name", "latitude", "longitude", "slots") if name not in values]
    if missing:
        return ImportProblem(0, values.get("code"), missing[0], f"{missing[0]} is missing")
    spec = StationSpec(**values)
    if dialects and spec.dialect not in dialects:
        message = f"{spec.dialect!r} is no dialect: there are {', '.join(dialects)}"
        return ImportProblem(0, spec.code, "dialect", message)
    return spec


def _cell(value: object) -> str:
    return "" if value is None else str(value).strip()


def check_spec(spec: StationSpec, countries: Collection[str]) -> ImportProblem | None:
    """The first thing that is wrong, or None. `countries`: ISO codes that the fleet knows."""
    for name, message in (
        ("code", None if CODE.fullmatch(spec.code) else f"{spec.code!r} is not a station code"),
        ("latitude", None if -90 <= spec.latitude <= 90 else f"{spec.latitude} is not a latitude"),
        ("longitude", None if -180 <= spec.longitude <= 180 else f"{spec.longitude} is not a longitude"),
        ("slots", None if 1 <= spec.slots <= MAX_SLOTS else f"{spec.slots} slots: 1 to {MAX_SLOTS} are possible"),
        ("time_zone", None if spec.time_zone in _ZONES else f"{spec.time_zone!r} is not a time zone"),
        ("country", None if spec.country is None or spec.country in countries else f"no country {spec.country}"),
        ("hardware_id", _odd_hardware_id(spec.hardware_id)),
        *((name, _too_long(name, getattr(spec, name))) for name in _TEXT_MAX),
    ):
        if message is not None:
            return ImportProblem(0, spec.code, name, message)
    # Every import with mixed-up or forgotten coordinates lands there; no cabinet does.
    if spec.latitude == 0 and spec.longitude == 0:
        return ImportProblem(0, spec.code, "latitude", "0, 0 is in the ocean: where is the station?")
    return None


def _odd_hardware_id(value: str | None) -> str | None:
    return None if value is None or HARDWARE_ID.fullmatch(value) else f"{value!r} is not a hardware id"


def _too_long(name: str, value: str | None) -> str | None:
    limit = _TEXT_MAX[name]
    return f"{name} has more than {limit} characters" if value is not None and len(value) > limit else None
