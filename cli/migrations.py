"""Alembic as a library: the same upgrade for `voltbay migrate`, `voltbay up` and the tests."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from fleet.db import create_engine_from

SCRIPTS = Path(__file__).resolve().parents[1] / "migrations"
#: Two starts at once migrate one after the other. Any constant will do; it is "voltbay" in hexadecimal.
_LOCK = 0x766F6C74626179


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to `revision`; waits while another process does the same."""
    engine = create_engine_from(url, name="voltbay-migrate", pool_size=2)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
            guard.execute(text("SET lock_timeout = 0"))
            guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            with engine.connect() as connection:
                config = alembic_config()
                config.attributes["connection"] = connection
                command.upgrade(config, revision)
    finally:
        engine.dispose()


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    return config


def head() -> str | None:
    """The newest revision there is."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


def current(engine: Engine) -> str | None:
    """The revision the database is at; None before the first."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
