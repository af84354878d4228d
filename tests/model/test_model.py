"""Riders, cabinets, the provider, the clock and deaths at random, against a small sequential model of the world.

`VOLTBAY_MODEL_EXAMPLES` asks for more examples than the suite runs; a failure prints the steps that lead to it.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fleet.common.errors import FleetError
from fleet.db import session_scope
from fleet.payments.providers.sandbox import Card
from tests.databases import Database
from tests.factories import add_tariff
from tests.model.backend import Backend
from tests.model.judge import Judge
from tests.model.town import RIDERS, STATIONS, Town, build, deliver

_EXAMPLES = int(os.environ.get("VOLTBAY_MODEL_EXAMPLES", "40"))
_STEPS = 40
_START = datetime(2026, 3, 27, 20, tzinfo=UTC)
_REFUSALS = {
    "insufficient_funds", "money_owed", "no_bank_available", "station_offline", "too_many_open_rentals",
}  # fmt: skip

riders = st.integers(0, RIDERS - 1)
places = st.integers(0, STATIONS - 1)
numbers = st.integers(0, 1000)
#: Statements until the process dies; most of the time it lives.
dies = st.one_of(st.none(), st.none(), st.integers(0, 40))


class Rentals(RuleBasedStateMachine):
    """Rules are what people, cabinets, networks and time do; the check comes when all has been told."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        self.town: Town

    @initialize()
    def found(self) -> None:
        self.backend.now += timedelta(days=1)
        self.town = build(self.backend, self.backend.now)

    def _moment(self) -> datetime:
        """No two things happen at one instant."""
        self.backend.now += timedelta(milliseconds=700)
        return self.backend.now

    # People

    @rule(rider=riders, place=places, dies=dies)
    def rent(self, rider: int, place: int, dies: int | None) -> None:
        town, who = self.town, self.town.riders[rider]
        self._moment()
        self.backend.heard(town.station_ids)
        begun = self.backend.start(who, list(town.cabinets)[place], dies)
        if isinstance(begun, FleetError):
            assert begun.code in _REFUSALS, begun.code
        else:
            town.rentals[begun] = who

    @precondition(lambda self: self.town.rentals)
    @rule(which=numbers, dies=dies)
    def cancel(self, which: int, dies: int | None) -> None:
        rental_id = list(self.town.rentals)[which % len(self.town.rentals)]
        refused = self.backend.cancel(self.town.rentals[rental_id], rental_id, dies)
        assert refused is None or refused.code == "rental_not_cancellable", refused

    @precondition(lambda self: self.town.hands)
    @rule(which=numbers, place=numbers)
    def bring_back(self, which: int, place: int) -> None:
        town = self.town
        free = [(c, n) for c in town.cabinets.values() for n, serial in c.slots.items() if serial is None]
        cabinet, slot = free[place % len(free)]
        serial = town.hands.pop(which % len(town.hands))
        town.stolen.discard(serial)
        cabinet.insert(slot, serial, self._moment())

    @rule(place=places, slot=numbers)
    def steal(self, place: int, slot: int) -> None:
        """Not from under an order that is under way: then nobody could tell whose hand it was."""
        cabinet = list(self.town.cabinets.values())[place]
        full = [number for number, serial in cabinet.slots.items() if serial is not None]
        busy = self.backend.busy_slots(cabinet.code)
        full = [number for number in full if number not in busy]
        if full:
            # Clocks may differ by seconds: what is to be told apart from an order happens well before it.
            serial = cabinet.steal(full[slot % len(full)], self._moment())
            self.town.hands.append(serial)
            self.town.stolen.add(serial)
            self.backend.now += timedelta(seconds=6)

    @rule(rider=riders, card=st.sampled_from(Card), amount=st.integers(100, 3000), dies=dies)
    def top_up(self, rider: int, card: Card, amount: int, dies: int | None) -> None:
        who = self.town.riders[rider]
        self.town.top_ups[self.backend.top_up(who, amount, card, dies)] = who

    # Cabinets and networks

    @rule(dies=dies)
    def publish(self, dies: int | None) -> None:
        for order in self.backend.claim(dies):
            code = order.message.topic.split("/")[2]
            if code in self.town.cabinets:
                self.town.cabinets[code].take(order.message)

    @rule(place=places, mood=st.sampled_from(["obey", "obey", "obey", "jam", "wrong", "mute", "deaf"]))
    def act(self, place: int, mood: str) -> None:
        cabinet = list(self.town.cabinets.values())[place]
        if cabinet.orders:
            self._watch_hands(lambda: cabinet.act(self._moment(), mood))

    @precondition(lambda self: any(cabinet.jammed for cabinet in self.town.cabinets.values()))
    @rule(which=numbers)
    def fall_out(self, which: int) -> None:
        jammed = [(c, command) for c in self.town.cabinets.values() for command in c.jammed]
        cabinet, command = jammed[which % len(jammed)]
        if cabinet.jammed[command] in self.backend.busy_slots(cabinet.code):
            return
        self._watch_hands(lambda: cabinet.fall_out(command, self._moment()))

    @rule(place=places, told=numbers, again=st.integers(0, 3), seed=numbers, dies=dies)
    def deliver(self, place: int, told: int, again: int, seed: int, dies: int | None) -> None:
        """Some of what waits and some of what was told before, shuffled, in one batch."""
        cabinet, rng = list(self.town.cabinets.values())[place], Random(seed)
        count = told % (len(cabinet.waiting) + 1)
        batch, cabinet.waiting = cabinet.waiting[:count], cabinet.waiting[count:]
        batch += rng.choices(cabinet.said, k=again) if cabinet.said else []
        cabinet.said += batch
        rng.shuffle(batch)
        if batch:
            self.backend.ingest([cabinet.frame(event, self.backend.now) for event in batch], dies)

    @rule(place=places)
    def look_around(self, place: int) -> None:
        list(self.town.cabinets.values())[place].inventory(self._moment())

    @rule(place=places)
    def forget(self, place: int) -> None:
        cabinet = list(self.town.cabinets.values())[place]
        lost = cabinet.forget(self.backend.now)
        if lost is not None:
            self.backend.ingest([lost])

    # Time and the provider

    @rule(seconds=st.sampled_from([1, 5, 20, 59, 61, 600, 1800, 7200, 86_400]), dies=dies)
    def wait(self, seconds: int, dies: int | None) -> None:
        self.backend.now += timedelta(seconds=seconds)
        self.backend.sweep(dies)

    @rule(times=st.integers(1, 3), dies=dies)
    def webhooks(self, times: int, dies: int | None) -> None:
        self.backend.webhooks(times, dies)

    @rule()
    def ask_provider(self) -> None:
        self.backend.ask_provider()

    def teardown(self) -> None:
        if hasattr(self, "town"):
            self._let_everything_be_told()
            Judge(self.backend.engine, self.town, self.backend.now).judge()

    def _let_everything_be_told(self) -> None:
        """Orders run out, cabinets tell all they know and what is in their slots, the provider is asked."""
        backend, cabinets = self.backend, list(self.town.cabinets.values())
        for _ in range(4):
            backend.now += timedelta(minutes=16)
            backend.sweep()
            self.publish(None)
            for cabinet in cabinets:
                while cabinet.orders:
                    order = cabinet
                    self._watch_hands(lambda order=order: order.act(backend.now, "obey"))  # type: ignore[misc]
                cabinet.inventory(backend.now)
                deliver(backend, cabinet, backend.now)
            backend.webhooks(1, None)
            backend.ask_provider()
        backend.sweep()

    def _watch_hands(self, act: Callable[[], Any]) -> None:
        before = {serial for c in self.town.cabinets.values() for serial in c.slots.values()}
        act()
        after = {serial for c in self.town.cabinets.values() for serial in c.slots.values()}
        self.town.hands += sorted(serial for serial in before - after if serial is not None)


@pytest.mark.timeout(1800)
def test_riders_cabinets_provider_clock_and_deaths(clean_database: Database) -> None:
    backend = Backend(clean_database.engine, _START)
    with session_scope(clean_database.engine) as session:
        add_tariff(session, _START)
    run_state_machine_as_test(
        lambda: Rentals(backend),  # type: ignore[arg-type]  # a factory will do, its documentation says
        settings=settings(
            max_examples=_EXAMPLES,
            stateful_step_count=_STEPS,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    assert backend.deaths.count > _EXAMPLES // 4, "nobody died: the test does not test what it says"
