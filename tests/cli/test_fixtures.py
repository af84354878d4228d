"""The shared fixtures keep their promises."""

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from tests.databases import Database

_MARK = "CREATE TABLE IF NOT EXISTS fixture_mark (id integer)"


def test_what_a_session_commits_is_gone_afterwards(engine: Engine, session: Session) -> None:
    session.execute(text(_MARK))
    session.commit()
    session.execute(text("INSERT INTO fixture_mark VALUES (1)"))
    session.commit()
    with engine.connect() as other:
        assert other.execute(text("SELECT to_regclass('fixture_mark')")).scalar() is None


def test_a_clean_database_is_its_own(engine: Engine, clean_database: Database) -> None:
    with clean_database.engine.begin() as connection:
        connection.execute(text(_MARK))
        assert connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is not None
    with engine.connect() as other:
        assert other.execute(text("SELECT to_regclass('fixture_mark')")).scalar() is None
        assert other.execute(text("SELECT current_database()")).scalar() != clean_database.engine.url.database
