"""Events of many stations that are applied at once, and those that must not be; on a real database."""

from collections.abc import Callable, Sequence
from datetime import datetime

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from device_gateway.business import TakesMany
from device_gateway.received import Received
from firmware_protocol.messages import CommandResult, Inventory
from firmware_protocol.types import CommandOutcome
from fleet.devices.facts import DeviceFact
from tests.databases import Database
from tests.device_gateway.support import Bench, Facts, add_station, insert, up

Names = list[tuple[str, int]]


def names(facts: Sequence[DeviceFact]) -> Names:
    return [(fact.station_code, fact.seq) for fact in facts]


class ManyFacts(Facts):
    """Takes what `takes` says of what it is offered together."""

    def __init__(self, takes: Callable[[DeviceFact], bool]) -> None:
        super().__init__()
        self._takes = takes
        self.answered: Names = []
        self.shown: Names = []
        #: How many were applied one by one before inventories were offered.
        self.before = 0

    def answers(self, session: Session, facts: Sequence[DeviceFact], now: datetime) -> list[DeviceFact]:
        del session, now
        assert not self.seen
        self.answered = names(facts)
        return [fact for fact in facts if self._takes(fact)]

    def inventories(self, session: Session, facts: Sequence[DeviceFact], now: datetime) -> list[DeviceFact]:
        del session, now
        self.before = len(self.seen)
        self.shown = names(facts)
        return [fact for fact in facts if self._takes(fact)]


class Failing(ManyFacts):
    """Writes something, and finds something wrong."""

    def inventories(self, session: Session, facts: Sequence[DeviceFact], now: datetime) -> list[DeviceFact]:
        session.execute(text("UPDATE station SET name = 'wrong'"))
        super().inventories(session, facts, now)
        raise ValueError("no")


def inventory(code: str, seq: int) -> Received:
    return up(code, seq, Inventory(slots=()))


def result(code: str, seq: int) -> Received:
    return up(code, seq, CommandResult(command_id=f"{code}-{seq}", outcome=CommandOutcome.SUCCEEDED))


@pytest.fixture
def bench_of(clean_database: Database) -> Callable[[ManyFacts], Bench]:
    for code in "ABCD":
        add_station(clean_database.engine, code)
    return lambda facts: Bench(clean_database.engine, facts)


def test_last_inventories_are_offered_together_and_the_rest_goes_before_them(
    bench_of: Callable[[ManyFacts], Bench],
) -> None:
    facts = ManyFacts(lambda fact: fact.station_code != "B")
    assert isinstance(facts, TakesMany)
    bench_of(facts).take(
        insert("A", 1), inventory("A", 2), inventory("B", 1), inventory("C", 1), insert("C", 2), inventory("D", 1),
        inventory("D", 2),
    )  # fmt: skip
    assert facts.shown == [("A", 2), ("B", 1), ("D", 2)]
    assert facts.before == 4
    assert names(facts.seen) == [("A", 1), ("C", 1), ("C", 2), ("D", 1), ("B", 1)]


def test_answers_are_offered_first_and_those_left_stay_in_their_order(bench_of: Callable[[ManyFacts], Bench]) -> None:
    facts = ManyFacts(lambda fact: fact.station_code == "A")
    bench_of(facts).take(insert("B", 1), result("B", 2), insert("B", 3), result("A", 1), insert("A", 2))
    assert facts.answered == [("B", 2), ("A", 1)]
    assert names(facts.seen) == [("B", 1), ("B", 2), ("B", 3), ("A", 2)]


def test_what_fails_together_is_applied_one_by_one(bench_of: Callable[[ManyFacts], Bench]) -> None:
    facts = Failing(lambda _: True)
    bench = bench_of(facts)
    done = bench.take(inventory("A", 1), inventory("B", 1))
    assert names(facts.seen) == [("A", 1), ("B", 1)]
    assert done.tally.dead == {}
    assert bench.one("SELECT count(*) FROM station WHERE name = 'wrong'") == 0


def test_one_alone_is_applied_alone(bench_of: Callable[[ManyFacts], Bench]) -> None:
    facts = ManyFacts(lambda _: True)
    bench_of(facts).take(inventory("A", 1), result("B", 1))
    assert (facts.shown, facts.answered) == ([], [])
    assert names(facts.seen) == [("B", 1), ("A", 1)]
