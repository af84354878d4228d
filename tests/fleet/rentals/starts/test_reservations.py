"""Banks that are kept for riders: fetched, not fetched, and asked for by many."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.db import session_scope
from fleet.payments.errors import InsufficientFunds
from fleet.payments.invoices import invoices_of
from fleet.rentals.errors import AlreadyReserved, NoBankAvailable, ReservationNotFound, ReservationOver, ReservedLately
from fleet.rentals.models import PayMode
from fleet.rentals.starts import quotes, reservations
from fleet.rentals.starts.models import Reservation, ReservationState
from fleet.rentals.starts.payment_plans import plan_of
from fleet.rentals.tariffs.models import Tariff
from fleet.stations.models import PowerBank, StationSlot
from tests.databases import Database
from tests.factories import add_rider
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.starts.test_payment_plans import give_points, points
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import HOUR, MINUTE, POLICY, SECOND, World

MANY = 50


def reserve(world: World, rider: UUID | None = None, slot: int | None = None) -> Reservation:
    return reservations.reserve(
        world.session, user_id=rider or world.rider, station_code="A", slot=slot, now=world.now, policy=world.policy
    )


def sweep(world: World) -> int:
    return reservations.sweep_reservations(world.session, world.now, world.policy)


def with_fee(world: World, minor: int = 120) -> None:
    world.session.execute(update(Tariff).values(valid_to=world.now))
    old = world.session.scalars(select(Tariff)).one()
    values = {
        column.key: getattr(old, column.key)
        for column in Tariff.__table__.columns
        if column.key not in {"id", "scope", "series_id", "valid_from", "valid_to"}
    }
    world.session.add(Tariff(**{**values, "reservation_fee_minor": minor, "valid_from": world.now}))
    world.session.flush()


def test_the_bank_is_kept_and_the_rental_gets_it(world: World) -> None:
    kept = reserve(world)
    assert (kept.slot_number, kept.power_bank.serial, kept.state) == (1, "A1", ReservationState.ACTIVE)
    other = world.start(rider=add_rider(world.session, world.now))
    assert other.slot_out == 2
    world.check_everything()
    world.later(10 * MINUTE)
    world.heard()
    quote = quotes.quote(world.session, user_id=world.rider, station_code="A", now=world.now, policy=world.policy)
    assert (quote.can_start, quote.charge_pct) == (True, 90)
    rental = world.start()
    assert (rental.slot_out, kept.state, kept.rental_id) == (1, ReservationState.USED, rental.id)
    assert reservations.current(world.session, world.rider) is None
    world.later(HOUR)
    assert sweep(world) == 0


def test_a_bank_that_was_carried_to_another_station_is_kept_for_one_rider(world: World) -> None:
    reserve(world)
    world.later(SECOND)
    world.inserted("B", 1, "A1", 90)
    world.heard()
    other = add_rider(world.session, world.now)
    with pytest.raises(NoBankAvailable), world.session.begin_nested():
        reservations.reserve(
            world.session, user_id=other, station_code="B", slot=None, now=world.now, policy=world.policy
        )
    assert world.start("B", rider=other).slot_out == 1


def test_what_is_kept_comes_before_a_better_bank(world: World) -> None:
    reserve(world, slot=3)
    assert world.start().slot_out == 3


def test_nobody_comes_and_the_fee_is_charged_once(world: World) -> None:
    with_fee(world)
    kept = reserve(world)
    assert world.money() == (4880, 120)
    world.later(15 * MINUTE - SECOND)
    world.heard()
    assert sweep(world) == 0
    world.later(SECOND)
    assert (sweep(world), sweep(world)) == (1, 0)
    assert (kept.state, kept.charged_minor, world.money()) == (ReservationState.EXPIRED, 120, (4880, 0))
    assert world.slot("A", 1).reserved_for is None
    [invoice] = invoices_of(world.session, world.rider, 10)
    assert (invoice.total_minor, [line.kind for line in invoice.lines]) == (120, ["reservation_fee"])
    world.check_everything()


@pytest.mark.parametrize("trouble", ["silent", "gone", "was away"])
def test_a_bank_that_could_not_be_fetched_costs_nothing(world: World, trouble: str) -> None:
    with_fee(world)
    kept = reserve(world)
    world.later(16 * MINUTE)
    if trouble != "silent":
        world.heard()
    if trouble == "was away":
        world.stations["A"].online_changed_at = world.now - MINUTE
    if trouble == "gone":
        world.inventory("A", {2: ("A2", 80), 3: ("A3", 70)})
    assert sweep(world) == 1
    assert (kept.state, kept.charged_minor, world.money()) == (ReservationState.EXPIRED, 0, (5000, 0))
    assert world.slot("A", 1).reserved_for is None
    world.check_everything()


def test_the_fee_is_there_for_the_rental_that_fetches_the_bank(world: World) -> None:
    with_fee(world, 200)
    world.rider = add_rider(world.session, world.now, 500)
    kept = reserve(world)
    assert world.money(world.rider) == (300, 200)
    world.start()
    assert (world.money(world.rider), kept.state) == ((0, 500), ReservationState.USED)
    world.check_everything()


def test_a_kept_bank_that_cannot_be_given_any_more_is_replaced_by_another_one(world: World) -> None:
    kept = reserve(world)
    world.session.execute(update(PowerBank).where(PowerBank.serial == "A1").values(charge_pct=1))
    rental = world.start()
    assert (rental.slot_out, kept.rental_id, kept.state) == (2, rental.id, ReservationState.ACTIVE)
    assert (sweep(world), kept.state) == (1, ReservationState.USED)
    assert world.slot("A", 1).reserved_for is None
    world.check_everything()


def test_cancelled_costs_nothing_and_is_not_had_again_at_once(world: World) -> None:
    with_fee(world)
    kept = reserve(world)
    for _ in range(2):
        again = reservations.cancel_reservation(
            world.session, user_id=world.rider, reservation_id=kept.id, now=world.now
        )
        assert (again.state, world.money()) == (ReservationState.CANCELLED, (5000, 0))
    with pytest.raises(ReservedLately):
        reserve(world)
    world.later(15 * MINUTE)
    world.heard()
    second = reserve(world)
    world.start()
    with pytest.raises(ReservationOver):
        reservations.cancel_reservation(world.session, user_id=world.rider, reservation_id=second.id, now=world.now)
    with pytest.raises(ReservationNotFound):
        reservations.cancel_reservation(
            world.session, user_id=add_rider(world.session, world.now), reservation_id=second.id, now=world.now
        )


def test_one_per_rider_and_only_with_the_money(world: World) -> None:
    with_fee(world)
    reserve(world)
    with pytest.raises(AlreadyReserved):
        reserve(world)
    with pytest.raises(InsufficientFunds), world.session.begin_nested():
        reserve(world, add_rider(world.session, world.now, 119))


# Many at once, with real commits


@pytest.fixture
def town(clean_database: Database, now: datetime) -> Iterator[Town]:
    with wide_engine(clean_database.url, MANY) as engine:
        yield Town(engine, now)


def keep(engine: Engine, rider: UUID, now: datetime) -> str:
    try:
        with session_scope(engine) as session:
            reservations.reserve(session, user_id=rider, station_code="A", slot=None, now=now, policy=POLICY)
    except FleetError as refused:
        return refused.code
    return "won"


def count(session: Session, state: ReservationState) -> int:
    return session.scalar(select(func.count()).where(Reservation.state == state)) or 0


def test_fifty_riders_reserve_one_bank(town: Town) -> None:
    town.station("A", 4, banks=1)
    riders = town.riders(MANY)
    found = together(MANY, lambda n: keep(town.engine, riders[n], town.now))
    assert Counter(found) == {"won": 1, NoBankAvailable.code: MANY - 1}
    town.check_books()


def test_one_rider_reserves_fifty_times(town: Town) -> None:
    town.station("A", 12, banks=10)
    [rider] = town.riders(1)
    found = together(MANY, lambda _: keep(town.engine, rider, town.now))
    assert Counter(found) == {"won": 1, AlreadyReserved.code: MANY - 1}
    with session_scope(town.engine) as session:
        assert session.scalar(select(func.count()).where(StationSlot.reserved_for.is_not(None))) == 1


def test_starting_cancelling_and_sweeping_one_reservation_at_once(town: Town) -> None:
    """One of them ends it; the slot is the rental's, or free."""
    town.station("A", 12, banks=10)
    riders = town.riders(10)
    assert [keep(town.engine, rider, town.now) for rider in riders] == ["won"] * 10
    later = town.now + timedelta(seconds=20)

    def act(n: int) -> None:
        rider = riders[n % 10]
        with session_scope(town.engine) as session:
            if n % 3 == 0:
                reservations.sweep_reservations(session, later + HOUR, POLICY)
            elif n % 3 == 1:
                kept = session.scalars(select(Reservation.id).where(Reservation.user_id == rider)).one()
                reservations.cancel_reservation(session, user_id=rider, reservation_id=kept, now=later)
            else:
                town.start_in(session, rider, "A")

    for refused in together(MANY, act):
        assert refused is None or isinstance(refused, FleetError)
    with session_scope(town.engine) as session:
        reservations.sweep_reservations(session, later + HOUR, POLICY)
        assert count(session, ReservationState.ACTIVE) == 0
        holders = set(session.scalars(select(StationSlot.reserved_for).where(StationSlot.reserved_for.is_not(None))))
        assert not holders & set(session.scalars(select(Reservation.id)))
    town.check_books()


def reserve_with_points(world: World) -> Reservation:
    return reservations.reserve(
        world.session, user_id=world.rider, station_code="A", slot=None, now=world.now, policy=world.policy,
        with_points=True,
    )  # fmt: skip


def test_a_fee_is_held_on_points_and_charged_to_them(world: World) -> None:
    with_fee(world)
    with pytest.raises(InsufficientFunds):
        reserve_with_points(world)
    give_points(world, 200)
    reserve_with_points(world)
    assert (points(world), world.money()) == ((80, 120), (5000, 0))
    world.later(POLICY.reservation + SECOND)
    world.heard()
    assert sweep(world) == 1
    assert (points(world), world.money()) == ((80, 0), (5000, 0))
    [bill] = invoices_of(world.session, world.rider, 5)
    assert bill.total_minor == 120
    world.check_everything()


def test_points_held_for_a_fee_come_back_when_the_rider_thinks_again(world: World) -> None:
    with_fee(world)
    give_points(world, 200)
    kept = reserve_with_points(world)
    for _ in range(2):
        reservations.cancel_reservation(
            world.session, user_id=world.rider, reservation_id=kept.id, now=world.now
        )  # fmt: skip
    assert (points(world), world.money()) == ((200, 0), (5000, 0))
    world.check_everything()


@pytest.mark.parametrize("pay", [PayMode.WALLET, PayMode.POINTS, PayMode.SPLIT])
def test_points_held_for_a_fee_are_there_for_the_rental(world: World, pay: PayMode) -> None:
    with_fee(world)
    give_points(world, 500)  # as much as a start holds
    reserve_with_points(world)
    rental = world.start(plan=plan_of(pay))
    assert points(world) == ((500, 0) if pay is PayMode.WALLET else (0, 500))
    assert world.money() == ((4500, 500) if pay is PayMode.WALLET else (5000, 0))
    assert rental.slot_out == 1
    world.check_everything()
