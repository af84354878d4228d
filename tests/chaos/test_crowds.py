"""Many riders at once, and what they share is taken away in the middle."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from random import Random
from time import sleep
from typing import Any
from uuid import uuid4

import httpx
import pytest

from device_gateway.event_ingest import FEW
from tests.system.clients import Rider, riders_with
from tests.system.system import System
from tests.system.waiting import until

#: More than that are applied each under a savepoint.
_MANY = FEW + 2
_ROUNDS = 3
_PATIENCE_S = 60
#: Whoever is in the middle of something is hit sooner.
_BACKENDS = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'
   AND application_name LIKE 'voltbay-%' AND application_name <> 'voltbay-test'
 ORDER BY state = 'idle', pid
"""
_AT_LEAST = 50


@pytest.fixture
def riders(system: System) -> list[Rider]:
    return riders_with(system, _MANY, 5000)


@pytest.fixture
def places(rounds: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    return [next(rounds) for _ in range(_MANY)]


@pytest.mark.parametrize("target", ["gateway", "postgres"])
def test_death_in_the_middle_of_a_batch(
    system: System, riders: list[Rider], places: list[tuple[str, str]], target: str
) -> None:
    """Banks come back while no gateway works, which then takes all of them at once and waits for one rider's wallet."""
    started = [rider.start(out) for rider, (out, _) in zip(riders, places, strict=True)]
    active = [rider.wait_state(each["id"], "active") for rider, each in zip(riders, started, strict=True)]
    with ExitStack() as held:
        with system.frozen("gateway"):
            for rental, (_, back) in zip(active, places, strict=True):
                system.cabinets.fleet.insert(back, rental["power_bank"])
            held.enter_context(system.wallet_locked(riders[_MANY // 2].id))
        until(lambda: system.someone_waits_for_a_lock("gateway"), "a close waits for the wallet")
        system.kill(target)
    system.restart(target)
    for rider, rental in zip(riders, active, strict=True):
        rider.wait_state(rental["id"], "completed")
        assert (rider.wallet()["balance"]["amount_minor"], rider.wallet()["held"]["amount_minor"]) == (4850, 0)


def test_connections_to_postgres_end_at_random(
    system: System, riders: list[Rider], places: list[tuple[str, str]]
) -> None:
    """Of any process, in the middle of a statement or a transaction, at its commit or just after it."""
    moved = sum(system.cabinets.moves(code) for code in system.cabinets.codes)
    refused: list[httpx.Response] = []
    rng, ended = Random(4), 0
    with ThreadPoolExecutor(_MANY) as pool:
        rides = [pool.submit(_ride, system, *each, refused) for each in zip(riders, places, strict=True)]
        while _under_way(rides) or ended < _AT_LEAST:
            victims = [row.pid for row in system.rows(_BACKENDS)]
            if victims:
                system.scalar("SELECT pg_terminate_backend(:pid)", pid=victims[min(rng.randrange(8), len(victims) - 1)])
                ended += 1
            sleep(rng.uniform(0.02, 0.15))
        for each in rides:
            each.result()
    assert {each.status_code for each in refused} <= {503}, [each.text for each in refused if each.status_code != 503]
    assert all(rider.wallet()["balance"]["amount_minor"] == 5000 - _ROUNDS * 150 for rider in riders)
    assert sum(system.cabinets.moves(code) for code in system.cabinets.codes) == moved + _MANY * _ROUNDS


def _under_way(rides: list[Future[None]]) -> bool:
    return not all(each.done() for each in rides)


def _ride(system: System, rider: Rider, places: tuple[str, str], refused: list[httpx.Response]) -> None:
    for number in range(_ROUNDS):
        out, back = places if number % 2 == 0 else (places[1], places[0])
        key = str(uuid4())
        rental = _insist(lambda out=out, key=key: rider.start_raw(out, key=key), refused)  # type: ignore[misc]
        active = _in_state(rider, rental["id"], "active", refused)
        system.cabinets.fleet.insert(back, active["power_bank"])
        assert _in_state(rider, rental["id"], "completed", refused)["charged"]["amount_minor"] == 150


def _in_state(rider: Rider, rental_id: str, state: str, refused: list[httpx.Response]) -> Any:
    def there() -> Any:
        found = _insist(lambda: rider.http.get(f"/rental/{rental_id}"), refused)
        return found if found["state"] == state else None

    return until(there, state, _PATIENCE_S)


def _insist(ask: Callable[[], httpx.Response], refused: list[httpx.Response]) -> Any:
    """As an app does: whoever is told to try again does."""

    def answer() -> Any:
        found = ask()
        if found.is_server_error:
            refused.append(found)
            return None
        assert found.is_success, found.text
        return found.json()

    return until(answer, "an answer", _PATIENCE_S)
