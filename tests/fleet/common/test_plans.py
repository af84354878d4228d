"""Statements that are planned once: on a real connection, as the product's engine makes them."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, bindparam, select, text
from sqlalchemy.orm import Session

from fleet.common import plans
from fleet.common.models import OutboxEvent
from fleet.common.plans import PLANNED
from tests.conftest import NOON

_PREPARED = text("SELECT statement FROM pg_prepared_statements ORDER BY prepare_time, name")


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as found:
        found.execute(text("DEALLOCATE ALL"))
        found.connection.info.pop("voltbay_planned", None)
        yield found
        found.rollback()


def prepared(connection: Connection) -> list[str]:
    return list(connection.scalars(_PREPARED))


def test_what_is_asked_twice_is_planned_once_and_answers_the_same(connection: Connection) -> None:
    query = text("SELECT :low + n FROM generate_series(1, 3) n WHERE n > :least AND '50%' LIKE '50%%'")
    plain = [connection.scalars(query, {"low": low, "least": 1}).all() for low in (0, 10)]
    planned = [
        connection.scalars(query.execution_options(**PLANNED), {"low": low, "least": 1}).all() for low in (0, 10)
    ]
    assert planned == plain == [[2, 3], [12, 13]]
    (statement,) = prepared(connection)
    assert "$1" in statement


def test_the_first_plan_is_the_one_that_is_kept(connection: Connection) -> None:
    query = select(OutboxEvent.name).where(OutboxEvent.id == bindparam("id")).execution_options(**PLANNED)
    for number in range(3):
        connection.execute(query, {"id": number})
    made = connection.execute(text("SELECT generic_plans, custom_plans FROM pg_prepared_statements")).one()
    assert tuple(made) == (3, 0)


def test_one_value_in_two_places_is_one_parameter(connection: Connection) -> None:
    query = text("SELECT n FROM generate_series(1, 5) n WHERE n >= :n AND n <= :n").execution_options(**PLANNED)
    assert connection.scalars(query, {"n": 4}).all() == [4]
    assert "$2" not in prepared(connection)[0]


def test_a_rollback_forgets_no_plan(connection: Connection) -> None:
    query = select(OutboxEvent.name).where(OutboxEvent.id == bindparam("id")).execution_options(**PLANNED)
    connection.execute(query, {"id": 1})
    connection.rollback()
    assert connection.execute(query, {"id": 1}).all() == []
    assert len(prepared(connection)) == 1


def test_a_table_that_changes_shape_is_planned_anew(connection: Connection) -> None:
    connection.execute(text("CREATE TEMPORARY TABLE shape (a int, b text) ON COMMIT DROP"))
    connection.execute(text("INSERT INTO shape VALUES (1, 'x')"))
    query = text("SELECT a FROM shape WHERE b = :b").execution_options(**PLANNED)
    assert connection.scalars(query, {"b": "x"}).all() == [1]
    connection.execute(text("ALTER TABLE shape ADD COLUMN c int, DROP COLUMN b, ADD COLUMN b text DEFAULT 'x'"))
    assert connection.scalars(query, {"b": "x"}).all() == [1]


def test_rows_that_a_session_writes_are_planned_without_being_asked(connection: Connection) -> None:
    with Session(connection) as session:
        for number in range(3):
            event = OutboxEvent(name="test.v1", payload={"number": number, "text": "100% $1 %(x)s"}, created_at=NOON)
            session.add(event)
            session.flush()
            event.attempts = number
            session.flush()
        found = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.name == "test.v1")).all()
        assert [each["text"] for each in found] == ["100% $1 %(x)s"] * 3
    kinds = [statement.split()[3] for statement in prepared(connection)]  # PREPARE vb_0 AS INSERT …
    assert sorted(kinds) == ["INSERT", "UPDATE"]


def test_beyond_the_limit_statements_are_sent_as_text(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "MOST", 2)
    for number in range(4):
        query = text(f"SELECT n FROM generate_series(1, {number + 1}) n WHERE n > :n").execution_options(**PLANNED)
        assert len(connection.scalars(query, {"n": 0}).all()) == number + 1
    assert len(prepared(connection)) == 2
