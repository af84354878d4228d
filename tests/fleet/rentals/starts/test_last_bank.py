"""The last bank of a station, while somebody else holds its slot: the start waits and then judges again."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import pytest
from sqlalchemy import Engine, select, text

from fleet.db import session_scope
from fleet.rentals.errors import NoBankAvailable
from fleet.rentals.models import Rental
from fleet.stations.picture import look
from tests.databases import Database
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.test_races import Town


@pytest.fixture
def engine(clean_database: Database) -> Iterator[Engine]:
    with wide_engine(clean_database.url, 5) as engine:
        yield engine


@contextmanager
def ingest(engine: Engine, station_id: int, now: datetime, emptied: str | None = None) -> Iterator[None]:
    """A batch of facts holds all slots until a start has been seen to wait for them."""
    held = threading.Event()

    def work() -> None:
        with session_scope(engine) as session:
            look(session, station_id, None, [], now)
            if emptied is not None:
                query = text(
                    "UPDATE station_slot SET state = 'empty', power_bank_id = NULL WHERE power_bank_id ="
                    " (SELECT id FROM power_bank WHERE serial = :serial)"
                )
                session.execute(query, {"serial": emptied})
            held.set()
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and not waiting():
                time.sleep(0.02)

    def waiting() -> bool:
        query = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with session_scope(engine) as session:
            return bool(session.scalar(query))

    thread = threading.Thread(target=work)
    thread.start()
    assert held.wait(10)
    yield
    thread.join()


def test_a_start_waits_for_a_batch_that_leaves_the_bank(engine: Engine, now: datetime) -> None:
    town = Town(engine, now)
    station_id = town.station("A", 3, 2)
    (rider,) = town.riders(1)
    with ingest(engine, station_id, now):
        rental_id = town.start(rider, "A")
    with session_scope(engine) as session:
        assert session.scalars(select(Rental.slot_out).where(Rental.id == rental_id)).one() == 2


def test_a_start_takes_the_next_best_when_the_best_went_meanwhile(engine: Engine, now: datetime) -> None:
    town = Town(engine, now)
    station_id = town.station("A", 3, 2)
    (rider,) = town.riders(1)
    with ingest(engine, station_id, now, emptied="A-2"):
        rental_id = town.start(rider, "A")
    with session_scope(engine) as session:
        assert session.scalars(select(Rental.slot_out).where(Rental.id == rental_id)).one() == 1


def test_of_five_starts_for_two_banks_two_win(engine: Engine, now: datetime) -> None:
    town = Town(engine, now)
    town.station("A", 3, 2)
    riders = town.riders(5)
    ends = together(5, lambda number: town.start(riders[number], "A"))
    assert sum(isinstance(end, NoBankAvailable) for end in ends) == 3
    with session_scope(engine) as session:
        assert sorted(session.scalars(select(Rental.slot_out))) == [1, 2]
