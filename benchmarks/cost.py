"""`python -m benchmarks.cost`: what one rental costs, stage by stage, in numbers that no other work here moves.

Statements, the messages that carry them (COPY not counted), and calls that Python makes (its own and into C). A rental
is started by the API's code, claimed and confirmed by the gateway's, and looked at as the waiting app does, in one
process and without a broker. Times on a shared machine hide a change of a tenth; these show one of a hundredth.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from api.rentals.schemas import RentalOut
from benchmarks.results import Report, save, show
from benchmarks.services import services
from benchmarks.whole import Whole, riders, settings_for
from cli.seed import seed_demo
from device_gateway import claims
from device_gateway.business import fact_handler
from device_gateway.claims import Claimant
from device_gateway.directory import Directory
from device_gateway.event_ingest import EventIngest
from device_gateway.received import Received
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.messages import (
    Booted,
    CommandResult,
    Inventory,
    PowerBankEjected,
    SlotInventory,
    UpFrame,
    UpMessage,
)
from firmware_protocol.types import CommandOutcome, ResetCause, SlotState
from fleet.common import idempotency
from fleet.common.clock import utc_now
from fleet.common.idempotency import StoredAnswer
from fleet.common.roundtrips import Connection, may_be_lost
from fleet.db import new_id, session_scope
from fleet.rentals import queries
from fleet.rentals.models import RentalState
from fleet.rentals.queries import Shown
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import service as starts
from fleet.rentals.starts.queries import Asked, look
from fleet.users.tokens import AccessClaims, TokenKeys
from simulators.spec import StationSpec, default_fleet

STAGES: Final = ("API: start", "gateway: claim", "gateway: ejected", "gateway: result", "API: answer", "API: kept")
_STATUS: Final = 200
_ROUTE: Final = "POST /api/v1/rental/start"


@dataclass(slots=True)
class Tally:
    """Sums over all rentals of one stage."""

    calls: int = 0
    statements: int = 0
    round_trips: int = 0
    cpu_s: float = 0.0


@dataclass(slots=True)
class Stages:
    """Counts what happens in each stage: every second rental for calls, which slow it down, the others for time."""

    tallies: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in STAGES})
    now: Tally | None = None
    drivers: list[Connection] = field(default_factory=list)

    def watch(self, engine: Engine) -> None:
        @event.listens_for(engine, "connect")
        def _connected(driver: Any, _: Any) -> None:
            self.drivers.append(driver)

        @event.listens_for(engine, "before_cursor_execute")
        def _sent(*_: Any) -> None:
            if self.now is not None:
                self.now.statements += 1

    @contextmanager
    def stage(self, name: str, *, calls: bool) -> Iterator[None]:
        tally = self.now = self.tallies[name]

        def called(_: FrameType, what: str, __: object) -> None:
            if what in {"call", "c_call"}:
                tally.calls += 1

        before = self._round_trips()
        began = time.thread_time()
        sys.setprofile(called if calls else None)
        try:
            yield
        finally:
            sys.setprofile(None)
            self.now = None
        tally.round_trips += self._round_trips() - before
        if not calls:
            tally.cpu_s += time.thread_time() - began

    def _round_trips(self) -> int:
        return sum(driver.round_trips for driver in self.drivers)


class Cabinets:
    """Cabinets whose frames are put into the gateway's pipeline by hand."""

    def __init__(self, system: Whole) -> None:
        self._ingest = EventIngest(
            system.engine, Directory(), fact_handler(system.settings), telemetry_s=60, clock=utc_now
        )
        self._seq: dict[str, int] = {}

    def say(self, code: str, message: UpMessage) -> None:
        self._ingest.process([self.frame(code, message)])

    def take(self, received: Received) -> None:
        self._ingest.process([received])

    def frame(self, code: str, message: UpMessage) -> Received:
        seq = self._seq.get(code, -1) + 1
        self._seq[code] = seq
        now = utc_now().timestamp()
        said = NATIVE.publish_up(UpFrame(station=code, boot=1, seq=seq, at_ms=round(now * 1000), message=message))
        return Received(said.topic, said.payload, said.content_type, said.qos, 1, 1, now)

    def come(self, stations: tuple[StationSpec, ...]) -> None:
        """Every cabinet starts and tells what it holds."""
        for each in stations:
            cause = ResetCause.POWER_ON
            self.say(each.code, Booted(epoch=1, firmware="1", hardware="1", slots=each.slots, reset_cause=cause))
        for each in stations:
            self.say(each.code, Inventory(slots=_slots(each)))


def _slots(station: StationSpec) -> tuple[SlotInventory, ...]:
    held = {bank.slot: bank.serial for bank in station.banks}
    return tuple(
        SlotInventory(slot=number, state=SlotState.OCCUPIED, serial=held[number], charge_pct=95)
        if number in held
        else SlotInventory(slot=number, state=SlotState.EMPTY)
        for number in range(1, station.slots + 1)
    )


def _answer(rental: Shown) -> StoredAnswer:
    return StoredAnswer(_STATUS, RentalOut.of(rental).model_dump(mode="json"))


@dataclass(frozen=True, slots=True)
class Desk:
    """The API's part, without HTTP."""

    engine: Engine
    #: The same in autocommit, as the API has it.
    reads: Engine
    policy: RentalPolicy

    def start(self, rider: AccessClaims, code: str) -> Shown:
        now, scope, user_id = utc_now(), str(rider.user_id), rider.user_id
        claim = idempotency.Claim(scope, "k", _ROUTE, idempotency.fingerprint(_ROUTE, b"{}"), None)
        asked = Asked(rider, claim)
        with session_scope(self.engine) as session:
            known = look(session, user_id=user_id, station_code=code, now=now, asked=asked)
            rental = starts.start(
                session, user_id=user_id, station_code=code, slot=None, now=now, policy=self.policy, rental_id=new_id(),
                known=known,
            )  # fmt: skip
            idempotency.finish(session, scope=scope, key="k", answer=_answer(rental), now=now)
        return rental

    def look(self, user_id: UUID, rental_id: UUID) -> StoredAnswer:
        """What the waiting app is answered."""
        with Session(self.reads) as session:
            rental = queries.shown(session, user_id, rental_id)
        assert rental.state is RentalState.ACTIVE, rental.state
        return _answer(rental)

    def keep(self, user_id: UUID, answer: StoredAnswer) -> None:
        """Behind the answer."""
        with session_scope(self.engine) as session:
            idempotency.replace(session, scope=str(user_id), key="k", answer=answer, instead_of=_STATUS)
            may_be_lost(session)


def _claim(engine: Engine) -> str:
    """The id of the one command that is sent."""
    with session_scope(engine) as session:
        (order,), _ = claims.claim(session, Claimant("benchmark"), utc_now())
        return NATIVE.decode_command(order.message.payload).command_id


def _one(stages: Stages, desk: Desk, cabinets: Cabinets, rider: AccessClaims, code: str, *, calls: bool) -> None:
    with stages.stage(STAGES[0], calls=calls):
        rental = desk.start(rider, code)
    with stages.stage(STAGES[1], calls=calls):
        command_id = _claim(desk.engine)
    slot, serial = rental.slot_out, rental.power_bank
    left = cabinets.frame(code, PowerBankEjected(slot=slot, serial=serial, charge_pct=95, command_id=command_id))
    with stages.stage(STAGES[2], calls=calls):
        cabinets.take(left)
    outcome = CommandOutcome.SUCCEEDED
    result = cabinets.frame(code, CommandResult(command_id=command_id, outcome=outcome, slot=slot, serial=serial))
    with stages.stage(STAGES[3], calls=calls):
        cabinets.take(result)
    with stages.stage(STAGES[4], calls=calls):
        answer = desk.look(rider.user_id, rental.id)
    with stages.stage(STAGES[5], calls=calls):
        desk.keep(rider.user_id, answer)


def run(*, quick: bool) -> Report:
    warm, number = (5, 10) if quick else (30, 100)
    with services() as running:
        system = Whole(running, settings_for(running), default_fleet(warm + number), {})
        stages = Stages()
        stages.watch(system.engine)
        seed_demo(running.postgres.url, system.fleet, system.settings.currency, utc_now())
        keys = TokenKeys.from_settings(system.settings)
        signed_in = [keys.verify_access(token, utc_now()) for token in riders(system, warm + number)]
        cabinets = Cabinets(system)
        cabinets.come(system.fleet.stations)
        reads = system.engine.execution_options(isolation_level="AUTOCOMMIT")
        desk = Desk(system.engine, reads, RentalPolicy.from_settings(system.settings))
        for index, (rider, station) in enumerate(zip(signed_in, system.fleet.stations, strict=True)):
            if index == warm:
                stages.tallies.update({name: Tally() for name in STAGES})
            _one(stages, desk, cabinets, rider, station.code, calls=index % 2 == 1)
    return _report(stages, number, quick=quick)


def _report(stages: Stages, number: int, *, quick: bool) -> Report:
    report = Report("cost", "what one rental costs, from the start to the app's answer", quick)
    rows: list[tuple[str, Callable[[Tally], float], str]] = [
        ("statements", lambda tally: tally.statements / number, ""),
        ("round trips to PostgreSQL", lambda tally: tally.round_trips / number, ""),
        ("Python calls", lambda tally: tally.calls / (number / 2), ""),
        ("CPU of Python", lambda tally: tally.cpu_s * 1000 / (number / 2), "ms"),
    ]
    for what, value, unit in rows:
        parts = {name: value(tally) for name, tally in stages.tallies.items()}
        note = ", ".join(f"{name} {part:,.1f}" if unit else f"{name} {part:,.0f}" for name, part in parts.items())
        report.add(what, sum(parts.values()), unit, note=note)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rentals, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
