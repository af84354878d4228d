"""Fifty phones at the same moment."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import uuid4

import httpx
import pytest

from tests.system.clients import Rider, riders_with
from tests.system.system import System

_PHONES = 50


@pytest.fixture(scope="module")
def crowd(whole: System) -> list[Rider]:
    """Fifty riders with money."""
    return riders_with(whole, _PHONES, 2000)


def _all_at_once(requests: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    barrier = Barrier(len(requests))

    def send(request: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait(30)
        return request()

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(send, requests))


def _statuses(answers: list[httpx.Response]) -> Counter[tuple[int, str | None]]:
    return Counter((answer.status_code, answer.json().get("code")) for answer in answers)


def _leave_one_bank(system: System, station: str, elsewhere: str) -> str:
    """All others are carried to another station by hand."""
    first, *others = system.cabinets.banks(station).items()
    for slot, serial in others:
        system.cabinets.remove(station, slot)
        if len(system.cabinets.banks(elsewhere)) < 8:
            system.cabinets.fleet.insert(elsewhere, serial)
    system.settle()
    return first[1]


def test_fifty_riders_and_one_bank(system: System, station: str, other: str, crowd: list[Rider]) -> None:
    bank = _leave_one_bank(system, station, other)
    answers = _all_at_once([lambda rider=rider: rider.start_raw(station) for rider in crowd])  # type: ignore[misc]
    statuses = _statuses(answers)
    won = [(rider, answer.json()) for rider, answer in zip(crowd, answers, strict=True) if answer.is_success]
    assert len(won) == 1, statuses
    assert {status for status, _ in statuses} == {202, 409}, statuses
    winner, rental = won[0]
    assert winner.wait_state(rental["id"], "active")["power_bank"] == bank
    assert system.cabinets.moves(station) == 1
    for rider in crowd:
        assert rider.wallet()["held"]["amount_minor"] == (1000 if rider is winner else 0)
    system.cabinets.fleet.insert(station, bank)
    winner.wait_state(rental["id"], "completed")


def test_fifty_starts_of_one_rider(system: System, unused: Iterator[str], crowd: list[Rider]) -> None:
    """From two stations, each under its own key: one rental."""
    rider = crowd[0]
    stations = [next(unused), next(unused)]
    answers = _all_at_once(
        [lambda n=n: rider.start_raw(stations[n % 2], key=str(uuid4())) for n in range(_PHONES)]  # type: ignore[misc]
    )
    statuses = _statuses(answers)
    won = [answer.json() for answer in answers if answer.is_success]
    assert len(won) == 1, statuses
    assert {status for status, _ in statuses} == {202, 409}, statuses
    rider.wait_state(won[0]["id"], "active")
    system.settle()
    assert sum(system.cabinets.moves(code) for code in stations) == 1
    assert rider.wallet()["held"]["amount_minor"] == 1000
    system.cabinets.fleet.insert(stations[0], rider.rental(won[0]["id"])["power_bank"])
    rider.wait_state(won[0]["id"], "completed")


def test_fifty_times_the_same_request(system: System, station: str, crowd: list[Rider]) -> None:
    """A phone with a bad connection: one key, one rental, one answer."""
    rider, key = crowd[1], str(uuid4())
    before = len(rider.rentals())  # one, for whoever won the only bank above
    answers = _all_at_once([lambda: rider.start_raw(station, key=key)] * _PHONES)
    good = [answer.json() for answer in answers if answer.is_success]
    assert good
    assert {rental["id"] for rental in good} == {good[0]["id"]}
    assert {answer.status_code for answer in answers} <= {202, 409}, _statuses(answers)
    rental = rider.wait_state(good[0]["id"], "active")
    assert system.cabinets.moves(station) == 1
    assert len(rider.rentals()) == before + 1
    system.cabinets.fleet.insert(station, rental["power_bank"])
    rider.wait_state(rental["id"], "completed")
