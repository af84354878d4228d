"""`python -m benchmarks.rental_rate`: rentals started and finished a second, by the services on a real PostgreSQL.

Each rental is four transactions, as the edges make them: the rider's start, the gateway's claim of the order, what the
cabinet tells of the eject, and the return with its price, its charge and its invoice. No HTTP and no MQTT: what the
business and its database cost, and nothing else.
"""

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from statistics import median
from typing import ClassVar, Final
from uuid import UUID

from sqlalchemy import Engine, func, select, text
from sqlalchemy.orm import Session

from benchmarks import seeding
from benchmarks.results import Report, save, show
from benchmarks.services import connections, services
from benchmarks.stream import BOOT, code
from firmware_protocol.messages import CommandResult, PowerBankEjected, PowerBankInserted
from firmware_protocol.types import CommandOutcome
from fleet.common.money import Money
from fleet.db import new_id, session_scope
from fleet.devices import presence
from fleet.devices.facts import DeviceFact
from fleet.payments import wallets
from fleet.rentals.evidence.service import apply_fact
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import service as starts
from fleet.rentals.tariffs.models import Tariff
from fleet.settings import Settings
from fleet.users.models import User

#: Processes, as there are cores; and threads of each, so that it has work while PostgreSQL writes.
_PROCESSES: Final = 2
_THREADS: Final = 4
_READY_S: Final = 120.0
_FUNDS: Final = 1_000_000
_RENTED_FOR: Final = timedelta(minutes=20)
#: What the gateway's claim does to one order.
_SENT: Final = text("""
UPDATE device_command SET state = 'sent', sent_at = :now, attempt = 1
 WHERE rental_id = :rental AND state = 'queued' RETURNING id""")


class Cabinet:
    """One rider after the other at one station; a bank comes back into the slot that it left.

    `boot`: higher than that of whoever spoke for the station before.
    """

    def __init__(self, engine: Engine, number: int, rider: UUID, now: datetime, boot: int) -> None:
        self.engine = engine
        self.code = code(number)
        self.rider = rider
        self.now = now
        self._boot, self._seq = boot, 0
        self._policy = RentalPolicy.from_settings(Settings())
        with Session(engine) as session:
            query = text("SELECT id FROM station WHERE code = :code")
            self._station: int = session.execute(query, {"code": self.code}).scalar_one()
        with session_scope(engine) as session:
            presence.heard(session, [self._station], now)

    def rentals(self, count: int) -> None:
        for _ in range(count):
            self._one()

    def _one(self) -> None:
        with session_scope(self.engine) as session:
            rental = starts.start(
                session, user_id=self.rider, station_code=self.code, slot=None, now=self.now, policy=self._policy
            )
            id_, slot, serial = rental.id, rental.slot_out, rental.power_bank
        with session_scope(self.engine) as session:
            command = str(session.execute(_SENT, {"now": self.now, "rental": id_}).scalar_one())
        with session_scope(self.engine) as session:
            self._tell(session, PowerBankEjected(slot=slot, serial=serial, command_id=command))
            done = CommandOutcome.SUCCEEDED
            self._tell(session, CommandResult(command_id=command, outcome=done, slot=slot, serial=serial))
        self.now += _RENTED_FOR
        with session_scope(self.engine) as session:
            presence.heard(session, [self._station], self.now)
            self._tell(session, PowerBankInserted(slot=slot, serial=serial, charge_pct=60))

    def _tell(self, session: Session, message: PowerBankEjected | PowerBankInserted | CommandResult) -> None:
        self._seq += 1
        fact = DeviceFact(
            station_id=self._station,
            station_code=self.code,
            boot=self._boot,
            seq=self._seq,
            occurred_at=self.now,
            received_at=self.now,
            replayed=False,
            message=message,
        )
        apply_fact(session, fact, self._policy, self.now)


class _Start:
    """Where the processes wait for each other: the clock starts when all have imported everything."""

    barrier: ClassVar[Barrier]

    @classmethod
    def meet_at(cls, barrier: Barrier) -> None:
        cls.barrier = barrier


def _work(url: str, riders: list[tuple[int, UUID]], count: int, now: datetime, boot: int) -> tuple[float, float]:
    """One process: when it began and when it ended, by one clock for all."""
    with connections(url, _THREADS) as engine:
        cabinets = [Cabinet(engine, number, rider, now, boot) for number, rider in riders]
        for cabinet in cabinets:  # what is compiled and looked up once
            cabinet.rentals(1)
        _Start.barrier.wait(_READY_S)
        with ThreadPoolExecutor(len(cabinets)) as pool:
            began = time.monotonic()
            list(pool.map(lambda cabinet: cabinet.rentals(count), cabinets))
            return began, time.monotonic()


def run(*, quick: bool) -> Report:
    report = Report("rental_rate", "rentals started and finished, services and database", quick)
    count, runs = (3, 1) if quick else (120, 3)
    now = datetime.now(UTC)
    rates = []
    with services() as running:
        seeding.station_fleet(running.engine, _PROCESSES * _THREADS)
        _tariff(running.engine, now)
        made = 0
        for turn in range(runs):
            riders = _riders(running.engine, now)
            spawn = multiprocessing.get_context("spawn")
            meeting = (spawn.Barrier(_PROCESSES),)
            with ProcessPoolExecutor(_PROCESSES, spawn, _Start.meet_at, meeting) as pool:
                work = [
                    pool.submit(_work, running.postgres.url, riders[first::_PROCESSES], count, now, BOOT + turn)
                    for first in range(_PROCESSES)
                ]
                times = [each.result() for each in work]
            made += len(riders) * (count + 1)
            rates.append(len(riders) * count / (max(end for _, end in times) - min(begin for begin, _ in times)))
            now += _RENTED_FOR * (count + 2)
        _check(running.engine, made)
    report.add(
        "rentals started and finished", median(rates), "/s", note=f"{_PROCESSES} processes, {_THREADS} threads each"
    )
    report.detail["rates"] = rates
    return report


def _tariff(engine: Engine, now: datetime) -> None:
    with session_scope(engine) as session:
        session.add(
            Tariff(
                name="bench",
                currency="EUR",
                unlock_minor=50,
                free_period=timedelta(0),
                interval_minor=50,
                interval_length=timedelta(minutes=30),
                daily_cap_minor=1000,
                total_cap_minor=3000,
                hold_minor=1000,
                overdue_after=timedelta(days=1),
                valid_from=now - timedelta(days=1),
            )
        )


def _riders(engine: Engine, now: datetime) -> list[tuple[int, UUID]]:
    """A rider with money for each station."""
    found = []
    with session_scope(engine) as session:
        for number in range(1, _PROCESSES * _THREADS + 1):
            id_ = new_id()
            session.add(User(id=id_, email=f"{id_}@example.com", tokens_valid_from=now, created_at=now))
            session.flush()  # the wallet's account refers to the user
            money = Money(_FUNDS, "EUR")
            wallets.adjust(session, user_id=id_, money=money, reason="bench", actor_id=id_, key=f"bench:{id_}", now=now)
            found.append((number, id_))
    return found


def _check(engine: Engine, made: int) -> None:
    """A figure of rentals that went wrong would mean nothing."""
    with Session(engine) as session:
        charged = Rental.charged_minor == 100
        done = select(func.count()).where(Rental.state == RentalState.COMPLETED, charged)
        finished = session.scalars(done.select_from(Rental)).one()
    if finished != made:
        raise RuntimeError(f"{finished} of {made} rentals were finished and charged")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rental_rate", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0 if report.quick or report.met else 1


if __name__ == "__main__":
    sys.exit(main())
