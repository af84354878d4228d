from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from fleet.db import session_scope
from fleet.payments import proof
from fleet.registry import CHECKS
from tests.databases import Database
from tests.fleet.parallel import wide_engine
from tests.fleet.subscriptions.club import START, Club

THREADS = 50


@pytest.fixture
def books(clean_database: Database) -> Iterator[Engine]:
    """Room for 50 transactions at once; the books are right afterwards."""
    with wide_engine(clean_database.url, THREADS) as engine:
        yield engine
        with session_scope(engine) as session:
            assert proof.prove(session, START, CHECKS).problems == ()


@pytest.fixture
def club(books: Engine) -> Club:
    """Nothing in the wallet, no card."""
    return Club(books)
