"""The same facts, in whatever order the stations' streams meet and however often they come, give the same tables.

Within a station the gateway keeps the order of (boot, seq) (decision 0061); between stations nobody does.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from firmware_protocol.messages import (
    CommandResult,
    EventMessage,
    Inventory,
    PowerBankEjected,
    PowerBankInserted,
    SlotInventory,
)
from firmware_protocol.types import CommandOutcome, SlotState
from fleet.devices.facts import DeviceFact
from fleet.devices.models import CommandState, DeviceCommand
from fleet.payments import proof, wallets
from fleet.payments.ledger import apply_house_now
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.evidence.service import apply_fact
from fleet.rentals.models import Rental
from fleet.rentals.starts import service as starts
from fleet.rentals.starts.ejects import last_eject
from fleet.stations.models import PowerBank, PowerBankMovement, Station, StationSlot
from tests.factories import add_banks, add_rider, add_station, add_tariff
from tests.fleet.rentals.world import POLICY

CODES = ("A", "B", "C")
SLOTS = 3
MINUTE = timedelta(minutes=1)


@dataclass
class Truth:
    """What really happens in three cabinets, and what each of them tells of it, in its own order."""

    rng: Random
    stations: dict[str, int]
    #: Ejects that are under way: station → (command id, slot, serial).
    orders: dict[str, tuple[str, int, str]]
    at: datetime
    received: datetime
    slots: dict[tuple[str, int], str | None]
    out: list[str] = field(default_factory=list)
    told: dict[str, list[DeviceFact]] = field(default_factory=lambda: {code: [] for code in CODES})

    def tell(self, code: str, message: EventMessage) -> None:
        fact = DeviceFact(
            station_id=self.stations[code],
            station_code=code,
            boot=2,
            seq=len(self.told[code]) + 1,
            occurred_at=self.at,
            received_at=self.received,
            replayed=True,
            message=message,
        )
        self.told[code].append(fact)

    def step(self) -> None:
        self.at += timedelta(seconds=self.rng.randint(1, 40 * 60))
        self.rng.choice((self.obey, self.obey, self.insert, self.insert, self.lose, self.look))()

    def obey(self) -> None:
        """A cabinet carries out its order, or says that it cannot; sometimes one of its two answers is never told."""
        if not self.orders:
            return
        code = self.rng.choice(sorted(self.orders))
        command, slot, serial = self.orders.pop(code)
        if self.slots[code, slot] != serial:
            self.tell(code, CommandResult(command_id=command, outcome=CommandOutcome.FAILED, code="slot_empty"))
            return
        self.slots[code, slot] = None
        self.out.append(serial)
        words = self.rng.choice(("er", "er", "e", "r"))
        if "e" in words:
            self.tell(code, PowerBankEjected(slot=slot, serial=serial, charge_pct=77, command_id=command))
        if "r" in words:
            done = CommandOutcome.SUCCEEDED
            self.tell(code, CommandResult(command_id=command, outcome=done, slot=slot, serial=serial))

    def insert(self) -> None:
        free = [place for place, bank in self.slots.items() if bank is None]
        if self.out and free:
            code, slot = place = self.rng.choice(free)
            bank = self.out.pop(self.rng.randrange(len(self.out)))
            self.slots[place] = bank
            self.tell(code, PowerBankInserted(slot=slot, serial=bank, charge_pct=self.rng.randint(1, 60)))

    def lose(self) -> None:
        """A bank is pulled out by force."""
        held = [place for place, bank in self.slots.items() if bank is not None and place[0] not in self.orders]
        if held:
            code, slot = self.rng.choice(held)
            bank = self.slots[code, slot]
            assert bank is not None
            self.slots[code, slot] = None
            self.out.append(bank)
            self.tell(code, PowerBankEjected(slot=slot, serial=bank, charge_pct=50))

    def look(self, code: str | None = None) -> None:
        code = code or self.rng.choice(CODES)
        entries = tuple(
            SlotInventory(
                slot=n,
                state=SlotState.OCCUPIED if bank else SlotState.EMPTY,
                serial=bank,
                charge_pct=44 if bank else None,
            )
            for n in range(1, SLOTS + 1)
            for bank in (self.slots[code, n],)
        )
        self.tell(code, Inventory(slots=entries))


def in_any_order(truth: Truth, rng: Random) -> list[DeviceFact]:
    """The streams merged at random; then each fact once more, at some later place."""
    waiting = {code: list(facts) for code, facts in truth.told.items() if facts}
    merged: list[DeviceFact] = []
    while waiting:
        code = rng.choice(sorted(waiting))
        merged.append(waiting[code].pop(0))
        if not waiting[code]:
            del waiting[code]
    for fact in list(merged):
        merged.insert(rng.randint(merged.index(fact) + 1, len(merged)), fact)
    return merged


def prepare(session: Session, now: datetime, rng: Random) -> Truth:
    """Three stations with two banks each; two riders wait for an eject at two of them."""
    add_tariff(session, now)
    stations = {code: add_station(session, now, code, SLOTS) for code in CODES}
    banks = {(code, n): f"{code}{n}" if n < SLOTS else None for code in CODES for n in range(1, SLOTS + 1)}
    add_banks(session, now, [bank for bank in banks.values() if bank])
    truth = Truth(rng, {code: s.id for code, s in stations.items()}, {}, now, now + timedelta(days=2), dict(banks))
    for code in CODES:
        truth.look(code)
        apply_fact(session, truth.told[code][0], POLICY, now)
    for bank in session.scalars(select(PowerBank)):
        bank.charge_pct = 90
    truth.at += MINUTE
    return truth


def begin_rentals(session: Session, truth: Truth, now: datetime, riders: int = 2) -> list[Rental]:
    rentals = []
    for code in truth.rng.sample(CODES, riders):
        begun = starts.start(
            session,
            user_id=add_rider(session, now),
            station_code=code,
            slot=None,
            now=now,
            policy=POLICY,
            request_id=None,
        )
        rental = session.get_one(Rental, begun.id)
        command = last_eject(session, rental.id)
        assert command is not None
        command.state, command.sent_at = CommandState.SENT, now
        truth.orders[code] = (str(command.id), rental.slot_out, command.args["serial"])
        rentals.append(rental)
    session.flush()
    return rentals


def tables(session: Session, now: datetime) -> dict[str, Any]:
    """Everything that must not depend on the order. What was recorded on the way may: how a rental came to its end
    (events, refunds), and which return was taken for the rental's own when it was told.
    """
    session.flush()
    session.expire_all()
    banks = {bank.id: bank for bank in session.scalars(select(PowerBank))}
    codes = {station.id: station.code for station in session.scalars(select(Station))}
    serial: dict[int | None, str | None] = {None: None, **{id_: bank.serial for id_, bank in banks.items()}}
    slots = session.scalars(select(StationSlot).order_by(StationSlot.station_id, StationSlot.number))
    rentals = list(session.scalars(select(Rental).order_by(Rental.id)))
    ordered = select(DeviceCommand).where(DeviceCommand.rental_id.is_not(None)).order_by(DeviceCommand.id)
    commands = session.scalars(ordered)
    return {
        "slots": [
            (codes[s.station_id], s.number, s.state, serial[s.power_bank_id], s.observed_boot, s.observed_seq,
             s.observed_at, s.disabled_reason, s.reserved_for, s.watched_until is None)
            for s in slots
        ],
        "banks": sorted(
            (b.serial, b.state, b.charge_pct, codes.get(b.seen_station_id or 0), b.seen_boot, b.seen_seq, b.seen_at)
            for b in banks.values()
        ),
        "rentals": [
            (r.state, serial[r.power_bank_id], r.started_at, r.start_evidence, r.ended_at, r.station_in_id, r.slot_in,
             r.price_minor, r.charged_minor, r.due_minor, r.charge_out_pct, r.charge_in_pct, r.failure_code)
            for r in rentals
        ],
        "wallets": [
            wallets.balance(session, wallets.wallet_of(session, r.user_id, "EUR", now)) for r in rentals
        ],
        "commands": [(c.rental_id, c.state) for c in commands],
        "movements": sorted(
            (codes[m.station_id], m.boot, m.seq, serial[m.power_bank_id], m.kind, m.slot_number, m.at)
            for m in session.scalars(select(PowerBankMovement))
        ),
        "cases": sorted(
            (serial[c.power_bank_id], c.reason)
            for c in session.scalars(select(OrphanBankCase).where(OrphanBankCase.state == CaseState.OPEN))
        ),
    }  # fmt: skip


def play(session: Session, facts: list[DeviceFact], now: datetime) -> dict[str, Any]:
    """Apply the facts, look at the tables, and take everything back."""
    with session.begin_nested() as savepoint:
        for fact in facts:
            apply_fact(session, fact, POLICY, now)
        found = tables(session, now)
        apply_house_now(session)
        assert proof.prove(session, now).problems == ()
        savepoint.rollback()
    session.expire_all()
    return found


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 14))
def test_any_order_between_stations_gives_the_same_tables(
    session: Session, now: datetime, seed: int, steps: int
) -> None:
    rng = Random(seed)
    with session.begin_nested() as savepoint:
        truth = prepare(session, now, rng)
        begin_rentals(session, truth, now)
        before = {code: len(facts) for code, facts in truth.told.items()}
        for _ in range(steps):
            truth.step()
        for code, count in before.items():
            del truth.told[code][:count]
        chronological = sorted(
            (fact for facts in truth.told.values() for fact in facts), key=lambda fact: (fact.occurred_at, fact.seq)
        )
        expected = play(session, chronological, truth.received)
        for _ in range(2):
            assert play(session, in_any_order(truth, rng), truth.received) == expected
        savepoint.rollback()
    session.expire_all()
