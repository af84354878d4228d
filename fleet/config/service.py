"""Configuration that operators change while the system runs. Readers read the row; nothing is cached."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import Conflict, InvalidInput, NotFound
from fleet.common.models import Country
from fleet.common.notify import Channel, notify
from fleet.config.models import AppConfig

Value = TypeVar("Value")

PUBLIC = "public"
PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class ConfigKey(Generic[Value]):
    """A value that code reads: its name, its type (anything pydantic validates) and what holds without it."""

    name: str
    type_: type[Value]
    default: Value
    scope: str = PRIVATE
    description: str = ""

    def parse(self, value: object) -> Value:
        """Raises InvalidInput when `value` (JSON) is not of this key's type."""
        try:
            return TypeAdapter(self.type_).validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(["value", *map(str, first["loc"])])
            raise InvalidInput(f"{self.name}: {first['msg']}", field=where) from error


class Registry:
    """The keys that code reads, so that nobody can store what code cannot read."""

    def __init__(self) -> None:
        self._keys: dict[str, ConfigKey[Any]] = {}

    def add(self, key: ConfigKey[Value]) -> ConfigKey[Value]:
        if self._keys.setdefault(key.name, key) is not key:
            raise ValueError(f"two configuration keys are called {key.name}")
        return key

    def get(self, name: str) -> ConfigKey[Any] | None:
        return self._keys.get(name)


registry = Registry()


@dataclass(frozen=True, slots=True)
class PublicConfig:
    """What apps may see. `version` grows with every change of any public value."""

    values: dict[str, JsonValue]
    version: int


def get(session: Session, key: ConfigKey[Value]) -> Value:
    """The value as it is now, or the key's default."""
    row = session.get(AppConfig, key.name)
    return key.default if row is None else key.parse(row.value)


def put(
    session: Session,
    name: str,
    value: JsonValue,
    now: datetime,
    *,
    scope: str | None = None,
    description: str | None = None,
    expected_version: int | None = None,
) -> AppConfig:
    """Set a value; raises its version and wakes who listens to Channel.CONFIG.

    A key that code reads must keep its type (InvalidInput). `expected_version`: Conflict when somebody was faster.
    """
    known = registry.get(name)
    if known is not None:
        known.parse(value)
    row = session.get(AppConfig, name, with_for_update=True, populate_existing=True)
    if expected_version is not None and expected_version != (row.version if row else 0):
        raise Conflict(f"{name} was changed by somebody else", key=name, version=row.version if row else 0)
    if row is None:
        row = AppConfig(
            key=name, scope=known.scope if known else PRIVATE, description=known.description if known else "", version=0
        )
        session.add(row)
    if scope is not None:
        row.scope = _scope(scope)
    if description is not None:
        row.description = description
    row.value, row.version, row.updated_at = value, row.version + 1, now
    session.flush()  # a constraint that refuses it belongs to this call
    notify(session, Channel.CONFIG, name)
    return row


def _scope(scope: str) -> str:
    if scope not in {PUBLIC, PRIVATE}:
        raise InvalidInput("scope is public or private", field="scope")
    return scope


def entry(session: Session, name: str) -> AppConfig:
    """Raises NotFound."""
    row = session.get(AppConfig, name)
    if row is None:
        raise NotFound("no such configuration key", key=name)
    return row


def entries(session: Session) -> list[AppConfig]:
    return list(session.scalars(select(AppConfig).order_by(AppConfig.key)))


def public(session: Session) -> PublicConfig:
    rows = session.execute(
        select(AppConfig.key, AppConfig.value, AppConfig.version)
        .where(AppConfig.scope == PUBLIC)
        .order_by(AppConfig.key)
    ).all()
    return PublicConfig({row.key: row.value for row in rows}, sum(row.version for row in rows))


def countries(session: Session) -> list[Country]:
    """Where the fleet does business, by name."""
    return list(session.scalars(select(Country).where(Country.active).order_by(Country.name)))


def load_config(session: Session, rows: Iterable[dict[str, Any]], now: datetime) -> int:
    """Add the fixture rows (key, value, scope, description) that are not there yet; returns how many.

    What an operator has changed since is left alone. Raises InvalidInput for a value its key cannot have.
    """
    added = 0
    for row in rows:
        known = registry.get(row["key"])
        if known is not None:
            known.parse(row["value"])
        added += len(
            session.scalars(
                insert(AppConfig)
                .values(
                    key=row["key"],
                    value=row["value"],
                    scope=_scope(row["scope"]),
                    description=row.get("description", ""),
                    version=1,
                    updated_at=now,
                )
                .on_conflict_do_nothing()
                .returning(AppConfig.key)
            ).all()
        )
    return added
