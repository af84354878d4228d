"""Points, wallet and card: held in one order, taken in that order, and given back the other way round."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from firmware_protocol.types import CommandOutcome
from fleet.common.errors import InvalidInput
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments import wallets
from fleet.payments.debts.models import DebtState
from fleet.payments.debts.queries import find_debts
from fleet.payments.errors import InsufficientFunds
from fleet.payments.models import AccountKind
from fleet.payments.points import as_points
from fleet.payments.providers.sandbox import SandboxProvider
from fleet.rentals.closing import charges, dues
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import PayMode, Rental, RentalState
from fleet.rentals.records import receipts
from fleet.rentals.starts import by_card as card_starts
from fleet.rentals.starts import quotes
from fleet.rentals.starts import service as starts
from fleet.rentals.starts.payment_plans import BY_WALLET, PaymentPlan, plan_of
from fleet.rentals.underway import cancels, deadlines, extensions
from tests.databases import Database
from tests.factories import add_rider, give_money
from tests.fleet.parallel import together, wide_engine
from tests.fleet.rentals.starts.test_by_card import Card402, ride
from tests.fleet.rentals.tariffs.test_packages import offer
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import DAY, HOUR, POLICY, SECOND, World

SPLIT = plan_of(PayMode.SPLIT)
POINTS = plan_of(PayMode.POINTS)
MANY = 50


def give_points(world: World, minor: int, rider: UUID | None = None) -> None:
    wallets.adjust(
        world.session, user_id=rider or world.rider, money=Money(minor, "EUR"), reason="test", actor_id=world.rider,
        key=uuid4().hex, now=world.now, account=AccountKind.BONUS,
    )  # fmt: skip
    world.session.flush()


def points(world: World, rider: UUID | None = None) -> tuple[int, int]:
    """Available and held."""
    found = wallets.points_balance(world.session, rider or world.rider, "EUR")
    return found.available_minor, found.held_minor


def back(world: World, rental: Rental, hours: int) -> None:
    world.later(hours * HOUR)
    world.inserted("B", 1, world.serial(rental))
    world.check_everything()


@pytest.fixture
def gifted(world: World) -> World:
    """The rider has 50.00 in the wallet and 3.00 of points."""
    give_points(world, 300)
    return world


def test_which_amounts_go_with_which_mode() -> None:
    assert plan_of(PayMode.WALLET) == BY_WALLET
    assert (POINTS.points_minor, SPLIT.points_minor, plan_of(PayMode.CARD).points_minor) == (None, None, 0)
    assert plan_of(PayMode.CARD, 5) == PaymentPlan(PayMode.CARD, 5)
    for mode, amount in ((PayMode.WALLET, 5), (PayMode.POINTS, 5), (PayMode.SPLIT, 0), (PayMode.CARD, -1)):
        with pytest.raises(InvalidInput):
            plan_of(mode, amount)


def test_a_hold_is_divided_points_first() -> None:
    assert [SPLIT.for_points(500, there) for there in (0, 300, 900)] == [0, 300, 500]
    assert plan_of(PayMode.SPLIT, 200).for_points(500, 900) == 200
    assert plan_of(PayMode.SPLIT, 700).for_points(500, 0) == 500, "and the points are refused"
    assert (POINTS.for_points(500, 300), BY_WALLET.for_points(500, 300)) == (500, 0)
    assert (SPLIT.funds(100, 30), POINTS.funds(100, 30), plan_of(PayMode.SPLIT, 20).funds(100, 30)) == (130, 30, 120)


@pytest.mark.parametrize(
    ("hours", "by_points", "by_wallet"),
    [(1, 200, 0), (4, 300, 200), (5, 300, 300), (30, 300, 1800)],
)
def test_split_takes_points_first_and_never_more_than_the_price(
    gifted: World, hours: int, by_points: int, by_wallet: int
) -> None:
    rental = gifted.rent(plan=SPLIT)
    assert (points(gifted), gifted.money()) == ((0, 300), (4800, 200))
    back(gifted, rental, hours)
    assert rental.charged_minor == rental.price_minor == by_points + by_wallet
    assert (points(gifted), gifted.money()) == ((300 - by_points, 0), (5000 - by_wallet, 0))


def test_an_exact_split_takes_no_more_points_than_was_said(gifted: World) -> None:
    rental = gifted.rent(plan=plan_of(PayMode.SPLIT, 120))
    assert (points(gifted), gifted.money()) == ((180, 120), (4620, 380))
    back(gifted, rental, 5)
    assert (points(gifted), gifted.money()) == ((180, 0), (4520, 0))


def test_points_alone_must_cover_what_is_held(gifted: World) -> None:
    with pytest.raises(InsufficientFunds):
        gifted.start(plan=POINTS)
    with pytest.raises(InsufficientFunds):
        gifted.start(plan=plan_of(PayMode.SPLIT, 301))
    assert (points(gifted), gifted.money()) == ((300, 0), (5000, 0))
    give_points(gifted, 200)
    rental = gifted.rent(plan=POINTS)
    assert (points(gifted), gifted.money()) == ((0, 500), (5000, 0))
    back(gifted, rental, 1)
    assert (points(gifted), gifted.money()) == ((300, 0), (5000, 0))


def test_beyond_the_points_the_wallet_pays_and_then_it_is_owed_in_money(world: World) -> None:
    rider = add_rider(world.session, world.now, 60)
    give_points(world, 500, rider)
    rental = world.rent(rider=rider, plan=POINTS)
    back(world, rental, 5)
    assert (rental.charged_minor, rental.due_minor) == (560, 40)
    give_points(world, 100, rider)
    assert dues.collect_dues(world.session, rider, world.now) == 0
    give_money(world.session, rider, world.now, 40)
    assert dues.collect_dues(world.session, rider, world.now) == 40
    assert [debt.state for debt in find_debts(world.session, limit=5)] == [DebtState.PAID]
    assert points(world, rider) == (100, 0)


def test_the_wallet_alone_leaves_points_alone(gifted: World) -> None:
    back(gifted, gifted.rent(), 5)
    assert (points(gifted), gifted.money()) == ((300, 0), (4400, 0))


def test_a_bank_that_never_came_frees_every_purse(gifted: World) -> None:
    rental = gifted.start(plan=SPLIT)
    for _ in range(2):  # the next best slot is tried once
        command = gifted.send(rental)
        gifted.result("A", command, CommandOutcome.FAILED, "motor_stalled")
    assert rental.state is RentalState.EJECT_FAILED
    assert (points(gifted), gifted.money()) == ((300, 0), (5000, 0))
    gifted.check_everything()


def test_calling_it_off_frees_every_purse(gifted: World) -> None:
    rental = gifted.start(plan=SPLIT)
    cancels.cancel(gifted.session, user_id=gifted.rider, rental_id=rental.id, now=gifted.now, policy=gifted.policy)
    assert (points(gifted), gifted.money()) == ((300, 0), (5000, 0))


def test_what_comes_back_goes_to_the_wallet_first_and_to_points_as_points(gifted: World) -> None:
    rental = gifted.rent(plan=SPLIT)
    back(gifted, rental, 5)
    locked = lock_rentals(gifted.session, [rental.id])[rental.id]
    for key, expected in (("1", ((0, 0), (4900, 0))), ("2", ((100, 0), (5000, 0))), ("3", ((300, 0), (5000, 0)))):
        charges.reduce_price(gifted.session, locked, 200, text="a mistake", key=key, now=gifted.now)
        assert (points(gifted), gifted.money()) == expected
    gifted.check_everything()


def test_a_bought_bank_that_is_back_gives_back_the_other_way_round(gifted: World) -> None:
    rental = gifted.rent(plan=SPLIT)
    gifted.later(5 * DAY)
    deadlines.sweep_rentals(gifted.session, gifted.now, gifted.policy)
    assert rental.state is RentalState.BOUGHT_OUT
    assert (points(gifted), gifted.money()) == ((0, 0), (2300, 0))
    gifted.inserted("B", 1, "A1")
    assert rental.price_minor == rental.charged_minor
    assert points(gifted) == (0, 0)
    assert gifted.money()[0] == 5300 - rental.charged_minor
    gifted.check_everything()


def test_an_extension_goes_by_the_same_purses(gifted: World) -> None:
    package, more = offer(gifted, 4, 200), offer(gifted, 2, 150)
    rental = gifted.start(package_id=package.id, plan=plan_of(PayMode.SPLIT, 250))
    assert (points(gifted), gifted.money()) == ((100, 200), (5000, 0))
    command = gifted.send(rental)
    gifted.later(SECOND)
    gifted.ejected("A", rental.slot_out, gifted.serial(rental), command)
    extensions.extend(gifted.session, user_id=gifted.rider, rental_id=rental.id, package_id=more.id, now=gifted.now)
    assert (points(gifted), gifted.money()) == ((50, 250), (4900, 100))
    back(gifted, rental, 1)
    assert (rental.charged_minor, points(gifted), gifted.money()) == (350, (50, 0), (4900, 0))


def test_the_quote_shows_what_each_purse_would_hold(gifted: World) -> None:
    def held(plan: PaymentPlan) -> tuple[int, int, int, str | None]:
        found = quotes.quote(
            gifted.session, user_id=gifted.rider, station_code="A", now=gifted.now, policy=gifted.policy, plan=plan
        )
        assert found.points == Money(300, "EUR")
        each = (found.hold_points, found.hold_wallet, found.hold_card)
        return (*(money.amount_minor for money in each), found.reason)  # type: ignore[return-value]  # three

    assert held(BY_WALLET) == (0, 500, 0, None)
    assert held(SPLIT) == (300, 200, 0, None)
    assert held(plan_of(PayMode.CARD, 100)) == (100, 0, 400, None)
    assert held(POINTS) == (500, 0, 0, "insufficient_funds")
    assert held(plan_of(PayMode.SPLIT, 301)) == (301, 199, 0, "insufficient_funds")


def test_the_receipt_shows_what_paid(gifted: World) -> None:
    rental = gifted.rent(plan=SPLIT)
    back(gifted, rental, 5)
    found = receipts.receipt(gifted.session, gifted.rider, rental.id, issuer="x", now=gifted.now)
    assert found.paid_by == (("points", 300), ("wallet", 300))


def test_points_are_called_by_the_configured_rate(gifted: World) -> None:
    assert as_points(gifted.session, Money(299, "EUR")) == 29
    assert as_points(gifted.session, Money(3, "JPY")) == 30


def test_the_database_knows_which_amounts_go_with_which_mode(gifted: World) -> None:
    gifted.rent(plan=SPLIT)
    for pay, most in (("wallet", "NULL"), ("wallet", "5"), ("points", "5"), ("split", "-1")):
        with pytest.raises(IntegrityError, match="ck_rental_pay"), gifted.session.begin_nested():
            gifted.session.execute(text(f"UPDATE rental SET pay = '{pay}', points_max_minor = {most}"))


@pytest.fixture
def shop(clean_database: Database, now: datetime) -> Iterator[Card402]:
    with wide_engine(clean_database.url, MANY) as engine:
        town = Town(engine, now)
        town.station("A", 4, banks=2)
        with session_scope(engine) as session:
            rider = add_rider(session, now, 0)
            wallets.adjust(
                session, user_id=rider, money=Money(300, "EUR"), reason="test", actor_id=rider, key="points", now=now,
                account=AccountKind.BONUS,
            )  # fmt: skip
        yield Card402(town, rider, SandboxProvider(engine, "whsec_cards", lambda: town.now))
        town.check_books()


def test_a_card_stands_for_what_points_do_not_cover(shop: Card402) -> None:
    plan = plan_of(PayMode.CARD, 200)

    def ask(points_minor: int) -> UUID:
        with session_scope(shop.town.engine) as session:
            intent = card_starts.ask_payment(
                session, user_id=shop.rider, station_code="A", slot=None, package_id=None, provider=shop.provider,
                now=shop.town.now, policy=POLICY, plan=plan_of(PayMode.CARD, points_minor),
            )  # fmt: skip
            assert intent is not None
            assert intent.amount_minor == 500 - points_minor
            return intent.id

    with pytest.raises(InsufficientFunds):
        ask(301)
    intent = ask(200)
    shop.confirm(intent)
    rental_id = shop.start(intent)
    assert rental_id is not None
    rental = shop.rental(rental_id)
    assert PaymentPlan(rental.pay, rental.points_max_minor) == plan
    done = ride(shop, rental_id, 5 * 60)
    assert (done.charged_minor, done.due_minor) == (200, 400)
    shop.carry_out(intent)
    done = shop.rental(rental_id)
    assert (done.charged_minor, done.due_minor) == (500, 100), "the card stood for 3.00"
    with session_scope(shop.town.engine) as session:
        found = receipts.receipt(session, shop.rider, rental_id, issuer="x", now=shop.town.now)
        assert found.paid_by == (("points", 200), ("card", 300))
        assert wallets.points_balance(session, shop.rider, "EUR").available_minor == 100


def test_gifts_and_starts_at_once_wait_for_nobody_for_ever(shop: Card402) -> None:
    """Who gives points locks the points only; who starts locks the wallet, then the points."""
    with session_scope(shop.town.engine) as session:
        give_money(session, shop.rider, shop.town.now, 500)

    def act(number: int) -> bool:
        with session_scope(shop.town.engine) as session:
            if number % 2:
                wallets.adjust(
                    session, user_id=shop.rider, money=Money(10, "EUR"), reason="test", actor_id=shop.rider,
                    key=str(number), now=shop.town.now, account=AccountKind.BONUS,
                )  # fmt: skip
                return False
            starts.start(
                session, user_id=shop.rider, station_code="A", slot=None, now=shop.town.now, policy=POLICY, plan=SPLIT
            )
            return True

    results = together(MANY, act)
    assert sum(each is True for each in results) == 1, results
    assert sum(each is False for each in results) == MANY // 2, results
    with session_scope(shop.town.engine) as session:
        found = wallets.points_balance(session, shop.rider, "EUR")
        assert found.available_minor + found.held_minor == 300 + 10 * (MANY // 2)
        wallet = wallets.balance(session, wallets.wallet_of(session, shop.rider, "EUR", shop.town.now))
        assert found.held_minor + wallet.held_minor == 500
