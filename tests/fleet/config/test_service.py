import pytest
from pydantic import JsonValue
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from fleet.common.errors import Conflict, InvalidInput, NotFound
from fleet.config.service import PRIVATE, PUBLIC, ConfigKey, Registry, entries, entry, get, load_config, public, put
from fleet.db import session_scope
from fleet.payments import topups
from tests.databases import Database
from tests.fleet.parallel import together, wide_engine
from tests.fleet.payments.conftest import NOW

LIMIT = ConfigKey("test.limit", int, 7)


def test_a_key_has_a_default_until_it_is_set(session: Session) -> None:
    assert get(session, LIMIT) == 7
    put(session, LIMIT.name, 9, NOW)
    assert get(session, LIMIT) == 9


def test_every_change_raises_the_version(session: Session) -> None:
    values: list[JsonValue] = ["x", ["y"], None]
    assert [put(session, "test.a", value, NOW).version for value in values] == [1, 2, 3]
    assert entry(session, "test.a").value is None


def test_new_keys_are_private(session: Session) -> None:
    assert put(session, "test.a", 1, NOW).scope == PRIVATE
    assert put(session, "test.a", 1, NOW, scope=PUBLIC).scope == PUBLIC
    assert put(session, "test.a", 2, NOW).scope == PUBLIC


def test_apps_see_what_is_public_and_its_version(session: Session) -> None:
    before = public(session).version
    put(session, "test.secret", "s3cret", NOW)
    put(session, "test.shown", {"a": [1, 2.5, None]}, NOW, scope=PUBLIC)
    found = public(session)
    assert found.values["test.shown"] == {"a": [1, 2.5, None]}
    assert "test.secret" not in found.values
    assert found.version == before + 1
    put(session, "test.shown", {}, NOW)
    assert public(session).version == before + 2


@pytest.mark.parametrize(
    "value", ["x", {"EUR": 5}, {"EUR": {"min_minor": 0, "max_minor": 5}}, {"EUR": {"min_minor": "a"}}, None]
)
def test_what_code_reads_keeps_its_type(session: Session, value: JsonValue) -> None:
    with pytest.raises(InvalidInput) as caught:
        put(session, topups.LIMITS.name, value, NOW)
    assert str(caught.value.attributes["field"]).startswith("value")
    with pytest.raises(InvalidInput):
        load_config(session, [{"key": topups.LIMITS.name, "value": value, "scope": PUBLIC}], NOW)


def test_a_known_key_brings_its_scope_and_description(session: Session) -> None:
    row = put(session, topups.LIMITS.name, {"EUR": {"min_minor": 1, "max_minor": 5}}, NOW)
    assert (row.scope, row.description) == (PUBLIC, topups.LIMITS.description)


def test_scopes_are_two(session: Session) -> None:
    with pytest.raises(InvalidInput):
        put(session, "test.a", 1, NOW, scope="secret")


def test_who_changes_an_old_version_is_told(session: Session) -> None:
    put(session, "test.a", 1, NOW, expected_version=0)
    put(session, "test.a", 2, NOW, expected_version=1)
    with pytest.raises(Conflict):
        put(session, "test.a", 3, NOW, expected_version=1)
    assert entry(session, "test.a").value == 2


def test_parallel_changes_are_all_counted(clean_database: Database) -> None:
    with wide_engine(clean_database.url, 20) as engine:
        with session_scope(engine) as session:
            put(session, "test.a", 0, NOW)
        outcomes = together(20, lambda number: _set(engine, number))
        assert sorted(version for version in outcomes if isinstance(version, int)) == list(range(2, 22))


def _set(engine: Engine, number: int) -> int:
    with session_scope(engine) as session:
        return put(session, "test.a", number, NOW).version


def test_unknown_keys_are_not_found(session: Session) -> None:
    with pytest.raises(NotFound):
        entry(session, "test.nothing")


def test_the_list_is_in_order(session: Session) -> None:
    for name in ("test.b", "test.a"):
        put(session, name, 1, NOW)
    names = [row.key for row in entries(session)]
    assert names == sorted(names)
    assert {"test.a", "test.b"} <= set(names)


def test_a_name_stands_for_one_key() -> None:
    registry = Registry()
    registry.add(LIMIT)
    registry.add(LIMIT)
    with pytest.raises(ValueError, match="two configuration keys"):
        registry.add(ConfigKey("test.limit", str, ""))
