"""Objects of a session at a tenth of what the unit of work takes to load them and to write what changed.

What one event or request is about lies in a handful of rows of several tables. `Gathered` locks and reads them in one
message, as the objects that rules change; `flush_later` writes what they left, one UPDATE a row, built once for each
set of columns.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from operator import attrgetter, itemgetter
from typing import Any, Final, Generic, TypeVar, cast

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Enum,
    Float,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    Update,
    Uuid,
    bindparam,
    event,
    inspect,
    literal_column,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import (
    DeclarativeBase,
    InstanceState,
    Mapper,
    Session,
    UOWTransaction,
)
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.sql import ClauseElement

from fleet.common.prepared import DIALECT, Message, Prepared, write_later
from fleet.common.roundtrips import WRITING_LATER
from fleet.db import UtcDateTime

_Model = TypeVar("_Model", bound=DeclarativeBase)
#: Of these the driver gives what the model says. Connections speak UTC.
_AS_THEY_COME: Final = (Boolean, Float, Integer, String, Uuid, JSONB, UtcDateTime)
_LENGTH: Final = re.compile(r"\(\d+\)")
#: Where the parameter that names the row stands among the columns' own.
_KEY: Final = "key_of_row"


class _Layout:
    """Tables side by side in one result: columns of one type share a place, so that few are empty."""

    def __init__(self, tables: Sequence[Table]) -> None:
        of_type: dict[str, int] = {}
        for table in tables:
            for name, columns in _by_type(table).items():
                of_type[name] = max(of_type.get(name, 0), len(columns))
        self._of_type = of_type

    def places(self, table: Table) -> tuple[list[ColumnElement[Any]], list[tuple[str, int]]]:
        """What to select for a row of this table, and at which place of the row each of its columns is then."""
        own = _by_type(table)
        selected: list[ColumnElement[Any]] = []
        places: list[tuple[str, int]] = []
        for name, width in self._of_type.items():
            columns = own.get(name, [])
            places += [(column.key, len(selected) + 1 + number) for number, column in enumerate(columns)]
            selected += columns
            selected += [literal_column(f"CAST(NULL AS {name})")] * (width - len(columns))
        return selected, places


def _by_type(table: Table) -> dict[str, list[Column[Any]]]:
    found: dict[str, list[Column[Any]]] = {}
    for column in table.columns:
        found.setdefault(_LENGTH.sub("", column.type.compile(DIALECT)), []).append(column)
    return found


class _Maker(Generic[_Model]):
    """Makes objects of one model."""

    def __init__(self, model: type[_Model], places: Sequence[tuple[str, int]]) -> None:
        mapper: Mapper[_Model] = inspect(model)
        table = cast("Table", model.__table__)
        self._mapper = mapper
        self._new: Callable[[], _Model] = mapper.class_manager.new_instance
        self._keys = tuple(mapper.get_property_by_column(table.c[name]).key for name, _ in places)
        self._pick: Callable[[Sequence[Any]], tuple[Any, ...]] = itemgetter(*(place for _, place in places))
        (key,) = mapper.primary_key
        self.id = mapper.get_property_by_column(key).key
        self._related = tuple(mapper.relationships.keys())
        self._read = [
            (attribute, reader)
            for attribute, (name, _) in zip(self._keys, places, strict=True)
            if (reader := _reader(table.c[name])) is not None
        ]

    def put(self, session: Session, row: Sequence[Any]) -> _Model:
        """The session's object of this row, with the values that the row has. What was changed of it is written."""
        values = dict(zip(self._keys, self._pick(row), strict=True))
        for name, read in self._read:
            if values[name] is not None:
                values[name] = read(values[name])
        identity = self._mapper.identity_key_from_primary_key((values[self.id],))
        found: _Model | None = session.identity_map.get(identity)
        if found is None:  # as SQLAlchemy's own loader goes about it
            found = self._new()
            state: InstanceState[_Model] = instance_state(found)
            state.key, state.session_id = identity, session.hash_key
            session.identity_map.add(state)
        else:
            state = instance_state(found)
            state.expired_attributes.difference_update(values)
            state.expired = False
            for name in self._related:
                state.dict.pop(name, None)
        state.dict.update(values)
        return found


def _reader(column: Column[Any]) -> Callable[[Any], Any] | None:
    """What makes of the driver's value what the model has. Raises TypeError for types that nobody has thought of."""
    if isinstance(column.type, Enum):
        return cast("Callable[[Any], Any]", column.type.enum_class)
    if isinstance(column.type, LargeBinary):
        return bytes
    if not isinstance(column.type, _AS_THEY_COME):
        raise TypeError(f"{column}: {column.type!r} must be read by SQLAlchemy")
    return None


class Gathered:
    """Rows of several tables, read in one message behind their locks, as objects of the session.

    They are as the database has them now, whatever the session knew of them (`populate_existing`). The parts are
    conditions on a model each; a row comes once for each part that it is of.
    """

    def __init__(self, locks: Sequence[Prepared], *parts: tuple[type[DeclarativeBase], ColumnElement[bool]]) -> None:
        self._locks = locks
        self._parts = parts

    @cached_property
    def _built(self) -> tuple[Message, list[_Maker[Any]]]:
        """At first use: a foreign key has its type when the table that it points to has been imported."""
        tables = [cast("Table", model.__table__) for model, _ in self._parts]
        layout = _Layout(list(dict.fromkeys(tables)))
        queries: list[Select[*tuple[Any, ...]]] = []
        makers: list[_Maker[Any]] = []
        for number, ((model, condition), table) in enumerate(zip(self._parts, tables, strict=True)):
            selected, places = layout.places(table)
            queries.append(select(literal_column(str(number)), *selected).where(condition))
            makers.append(_Maker(model, places))
        return Message(self._locks, Prepared(union_all(*queries), planned=True)), makers

    def all(self, session: Session, **values: Any) -> list[list[Any]]:
        """The objects of each part, by id."""
        message, makers = self._built
        found: list[list[Any]] = [[] for _ in makers]
        for row in message.all(session, **values):
            found[row[0]].append(makers[row[0]].put(session, row))
        for maker, objects in zip(makers, found, strict=True):
            if len(objects) > 1:
                objects.sort(key=attrgetter(maker.id))
        return found


@dataclass(frozen=True, slots=True)
class _Plain:
    """A model whose changes are one UPDATE by its key, of the columns that changed and no others."""

    key: str
    table: Table
    #: By attribute.
    columns: Mapping[str, str] = field(default_factory=dict)

    def changes(self, state: InstanceState[Any]) -> dict[str, Any] | None:
        """By column; None: something of it is for the unit of work."""
        changed: dict[str, Any] = {}
        now = state.dict
        for attribute, before in state.committed_state.items():
            column = self.columns.get(attribute)
            if column is None or attribute == self.key or attribute not in now:
                return None
            value = now[attribute]
            if isinstance(value, ClauseElement):
                return None
            if value != before:
                changed[column] = value
        return changed


@cache
def _plain(mapper: Mapper[Any]) -> _Plain | None:
    """None: the unit of work knows more about it than its columns."""
    table = mapper.local_table
    written = [column for column in mapper.columns if column.onupdate or column.server_onupdate]
    if len(mapper.tables) != 1 or not isinstance(table, Table) or len(mapper.primary_key) != 1 or written:
        return None
    if mapper.version_id_col is not None or mapper.inherits is not None:
        return None
    attributes = {each.key: each.columns[0].key for each in mapper.column_attrs}
    return _Plain(mapper.get_property_by_column(mapper.primary_key[0]).key, table, attributes)


def _key_of(state: InstanceState[Any]) -> Any:
    """By its identity: of an object that a rollback made stale no attribute is known, its key neither."""
    assert state.key is not None  # it is persistent
    return state.key[1][0]


@cache
def _update_of(table: Table) -> Update:
    (key,) = table.primary_key.columns
    return update(table).where(key == bindparam(_KEY, type_=key.type))


@event.listens_for(Session, "before_flush")
def _write_plain(session: Session, context: UOWTransaction, instances: object) -> None:
    """Rows that may wait (`flush_later`) are written without the unit of work, if all that changed is plain columns.

    What it keeps of a flush is kept: the order (tables by name, rows by key), and which objects a rollback makes stale.
    """
    del context
    if WRITING_LATER not in session.info or instances or session.new or session.deleted:
        return
    states = [instance_state(each) for each in session.dirty]
    rows: list[tuple[str, Any, Table, dict[str, Any]]] = []
    for state in states:
        plain = _plain(state.mapper)
        changes = None if plain is None else plain.changes(state)
        if plain is None or changes is None:
            return
        if changes:
            rows.append((plain.table.name, _key_of(state), plain.table, changes))
    for _, key, table, changes in sorted(rows, key=itemgetter(0, 1)):
        values = {**dict(sorted(changes.items())), _KEY: key}
        write_later(session, _update_of(table), values, flush=False)
    # What a flush does with what it wrote; there is no public word for it.
    session._register_persistent(set(states))  # noqa: SLF001
