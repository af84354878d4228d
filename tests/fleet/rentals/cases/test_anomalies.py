"""Operators hear of rentals that last for days, and of banks that nobody has."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.rentals.cases import anomalies, banks
from fleet.rentals.cases.service import resolve_case
from fleet.rentals.models import RentalState
from fleet.stations.models import PowerBankState
from fleet.telemetry import alerting, alerts
from fleet.telemetry.alerts import RuleSpec
from fleet.telemetry.models import Alert, AlertKind, AlertState, Severity
from fleet.users.audit import Actor
from tests.databases import Database
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.world import DAY, HOUR, MINUTE, World

BOSS = Actor(console="root")


def rules(session: Session, now: datetime, **more: Any) -> None:
    """A rental of 48 hours, a bank that is missing for one."""
    for kind, hours in ((AlertKind.LONG_RENTAL, 48), (AlertKind.BANK_MISSING, 1)):
        name = f"{kind} {more.get('station', '')}"
        spec = RuleSpec(name, kind, Severity.WARNING, threshold=hours, clear_after=0 * HOUR, **more)
        alerts.create_rule(session, spec, now)


def found(world: World) -> tuple[int, int]:
    """How many opened and closed."""
    world.session.flush()
    done = anomalies.sweep(world.session, world.now)
    return done.opened, done.closed


def current(world: World) -> list[Alert]:
    query = select(Alert).where(Alert.state != AlertState.CLOSED).order_by(Alert.id)
    return list(world.session.scalars(query))


def test_a_rental_of_two_days_is_told_once_and_is_over_with_its_return(world: World) -> None:
    rules(world.session, world.now)
    rental = world.rent()
    began = world.now
    world.later(2 * DAY - MINUTE)
    assert found(world) == (0, 0)
    world.later(MINUTE)
    assert (found(world), found(world)) == ((1, 0), (0, 0))
    (alert,) = current(world)
    assert (alert.subject, alert.since, alert.value) == (f"rental:{rental.id}", began, 48)
    assert (alert.station_id, alert.slot_number, alert.power_bank_id) == (
        world.stations["A"].id,
        rental.slot_out,
        rental.power_bank_id,
    )
    world.later(HOUR)
    world.inserted("B", 1, "A1")
    assert (found(world), found(world)) == ((0, 1), (0, 0))
    assert rental.state is RentalState.COMPLETED


def test_an_eject_that_nobody_answers_is_an_open_rental_too(world: World) -> None:
    rules(world.session, world.now)
    rental, _ = world.unknown()
    world.later(2 * DAY)
    assert found(world) == (1, 0)
    assert [alert.subject for alert in current(world)] == [f"rental:{rental.id}"]


def test_a_bank_is_missing_until_somebody_says_where_it_is(world: World) -> None:
    """A case that was resolved with words leaves it to nobody; an operator's decision, or its slot, do not."""
    rules(world.session, world.now)
    left = world.now
    world.inventory("A", {2: ("A2", 80)})  # A1 and A3 are gone
    assert found(world) == (0, 0)
    for case in world.cases():
        resolve_case(world.session, case.id, "I have looked", world.now)
    world.later(HOUR)
    assert (found(world), found(world)) == ((2, 0), (0, 0))
    first, second = current(world)
    assert {first.subject, second.subject} == {f"bank:{world.bank(serial).id}" for serial in ("A1", "A3")}
    assert (first.since, first.value, first.station_id) == (left, 1, world.stations["A"].id)
    banks.hold(world.session, "A3", PowerBankState.LOST, reason="stolen", actor=BOSS, now=world.now)
    assert found(world) == (0, 1)
    world.inserted("B", 1, "A1")
    assert found(world) == (0, 1)
    banks.release(world.session, "A3", reason="not stolen", actor=BOSS, now=world.now)
    assert found(world) == (1, 0)


def test_a_bank_that_its_rider_has_or_that_is_not_the_fleets_is_not_missing(world: World) -> None:
    rules(world.session, world.now)
    world.rent()
    world.inventory("B", {1: ("STRANGER", 99)})
    world.inventory("B", {})
    world.later(2 * HOUR)
    assert found(world) == (0, 0)


def test_rules_have_a_place_and_others_do_not_look_for_them(world: World) -> None:
    rules(world.session, world.now, station="B")
    world.rent()
    world.inventory("A", {3: ("A3", 70)})
    world.later(2 * DAY)
    assert found(world) == (0, 0)
    rules(world.session, world.now, station="A")
    assert alerting.sweep(world.session, world.now).opened == 0
    assert alerting.look_at_stations(world.session, [world.stations["A"].id], world.now).opened == 0
    assert found(world) == (2, 0)
    assert alerting.sweep(world.session, world.now + DAY).closed == 0
    counts = {kind: count for kind, _, count in alerts.count_open(world.session)}
    assert counts == {AlertKind.LONG_RENTAL: 1, AlertKind.BANK_MISSING: 1}


def test_many_that_look_at_once_open_one_alert(clean_database: Database, now: datetime) -> None:
    with Session(clean_database.engine) as session:
        world = World(session, now)
        rules(session, now)
        rental_id: UUID = world.rent().id
        session.commit()
    with wide_engine(clean_database.url, 6) as engine:

        def look(_: int) -> int:
            with Session(engine) as own, own.begin():
                return anomalies.sweep(own, now + 3 * DAY).opened

        assert sorted(map(str, together(6, look))) == ["0", "0", "0", "0", "0", "1"]
    with Session(clean_database.engine) as session:
        assert session.scalars(select(Alert.subject)).all() == [f"rental:{rental_id}"]
