from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from fleet.common.errors import IllegalTransition
from fleet.common.money import Money
from fleet.partners import payouts
from fleet.partners.errors import PayoutBySamePerson, PayoutNotFound, ReferenceUsed
from fleet.partners.models import PayoutRequest, PayoutState
from fleet.partners.shares import settle_rental
from fleet.payments import holds, ledger, statements
from fleet.payments.errors import InsufficientFunds
from fleet.payments.models import AccountKind
from tests.factories import add_rider
from tests.fleet.partners.conftest import Trade


@pytest.fixture
def rich(trade: Trade) -> Trade:
    """The franchise has earned 0.59."""
    trade.settle(trade.ride())
    return trade


@pytest.fixture
def people(rich: Trade) -> tuple[UUID, UUID]:
    """Somebody of the partner, and an operator."""
    return add_rider(rich.world.session, rich.world.now, 0), add_rider(rich.world.session, rich.world.now, 0)


def ask(trade: Trade, minor: int, actor: UUID) -> PayoutRequest:
    return payouts.request(
        trade.world.session, trade.franchise, Money(minor, "EUR"), actor_id=actor, now=trade.world.now
    )


def left(trade: Trade) -> int:
    return payouts.balance(trade.world.session, trade.franchise.id, "EUR", trade.world.now).available_minor


def test_the_balance_is_held_from_the_request_on(rich: Trade, people: tuple[UUID, UUID]) -> None:
    ask(rich, 50, people[0])
    assert (left(rich), rich.owed(rich.franchise)) == (9, 59)
    with pytest.raises(InsufficientFunds):
        ask(rich, 10, people[0])
    rich.check()


def test_a_payout_goes_through_all_its_steps_each_of_them_once(rich: Trade, people: tuple[UUID, UUID]) -> None:
    session, now = rich.world.session, rich.world.now
    payout = ask(rich, 50, people[0])
    for _ in range(2):
        payouts.approve(session, payout.id, actor_id=people[1], now=now)
    for _ in range(2):
        payouts.process(session, payout.id)
    for _ in range(2):
        payouts.complete(session, payout.id, reference="SEPA-1", now=now)
    assert (payout.state, rich.owed(rich.franchise), left(rich)) == (PayoutState.COMPLETED, 9, 9)
    assert rich.house(AccountKind.PAYOUTS) == 50
    with pytest.raises(IllegalTransition):
        payouts.reject(session, payout.id, actor_id=people[1], reason="late", now=now)
    account = payouts.account_of(session, rich.franchise.id, "EUR", now)
    lines = statements.statement(session, account, 5).lines
    assert [(line.text, line.amount_minor, line.balance_minor) for line in lines] == [
        ("Payout", -50, 9),
        ("Share of a rental", 59, 59),
    ]
    table = list(statements.as_csv(session, account))
    assert "".join(table).splitlines()[1].split(",")[1:6] == ["partner_payout", "Payout", "-50", "9", "EUR"]
    rich.check()


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_refused_payout_gives_the_money_back(rich: Trade, people: tuple[UUID, UUID], steps: int) -> None:
    session, now = rich.world.session, rich.world.now
    payout = ask(rich, 50, people[0])
    if steps:
        payouts.approve(session, payout.id, actor_id=people[1], now=now)
    if steps > 1:
        payouts.process(session, payout.id)
    for _ in range(2):
        payouts.reject(session, payout.id, actor_id=people[1], reason="account closed", now=now)
    assert (left(rich), payout.reason) == (59, "account closed")
    rich.check()


def test_a_partner_takes_a_request_back_until_it_is_decided(rich: Trade, people: tuple[UUID, UUID]) -> None:
    session, now = rich.world.session, rich.world.now
    payout = ask(rich, 50, people[0])
    with pytest.raises(PayoutNotFound):
        payouts.cancel(session, rich.vendor, payout.id, now)
    for _ in range(2):
        payouts.cancel(session, rich.franchise, payout.id, now)
    assert left(rich) == 59
    decided = ask(rich, 50, people[0])
    payouts.approve(session, decided.id, actor_id=people[1], now=now)
    with pytest.raises(IllegalTransition):
        payouts.cancel(session, rich.franchise, decided.id, now)


def test_nobody_approves_their_own(rich: Trade, people: tuple[UUID, UUID]) -> None:
    payout = ask(rich, 50, people[0])
    with pytest.raises(PayoutBySamePerson):
        payouts.approve(rich.world.session, payout.id, actor_id=people[0], now=rich.world.now)
    with pytest.raises(IntegrityError, match="four_eyes"), rich.world.session.begin_nested():
        rich.world.session.execute(text("UPDATE payout_request SET state = 'approved', decided_by = requested_by"))


def test_a_reference_is_used_once(rich: Trade, people: tuple[UUID, UUID]) -> None:
    session, now = rich.world.session, rich.world.now
    both = [ask(rich, 20, people[0]) for _ in range(2)]
    for payout in both:
        payouts.approve(session, payout.id, actor_id=people[1], now=now)
        payouts.process(session, payout.id)
    payouts.complete(session, both[0].id, reference="SEPA-1", now=now)
    with pytest.raises(ReferenceUsed), session.begin_nested():
        payouts.complete(session, both[1].id, reference="SEPA-1", now=now)
    assert rich.house(AccountKind.PAYOUTS) == 20


def test_what_was_paid_out_is_owed_back_after_a_refund(rich: Trade, people: tuple[UUID, UUID]) -> None:
    """The account goes below zero, nothing is paid out of it, and the next shares make it good."""
    session, now = rich.world.session, rich.world.now
    payout = ask(rich, 59, people[0])
    payouts.approve(session, payout.id, actor_id=people[1], now=now)
    payouts.process(session, payout.id)
    payouts.complete(session, payout.id, reference="SEPA-1", now=now)
    rental_id = session.execute(text("SELECT rental_id FROM revenue_share LIMIT 1")).scalar_one()
    holds.refund_rental(session, rental_id=rental_id, money=Money(300, "EUR"), reason="jam", key="k", now=now)
    settle_rental(session, rental_id, now)
    assert rich.owed(rich.franchise) == -59
    with pytest.raises(InsufficientFunds):
        ask(rich, 1, people[0])
    rich.settle(rich.ride())
    assert rich.owed(rich.franchise) == 0
    rich.check()


def test_the_database_alone_stops_a_payout_that_overdraws(rich: Trade) -> None:
    session, now = rich.world.session, rich.world.now
    with pytest.raises(IntegrityError, match="more than there is"), session.begin_nested():
        session.execute(
            text("INSERT INTO ledger_transfer (id, debit_account_id, credit_account_id, amount_minor, currency, kind,"
                 " state, idempotency_key, created_at)"
                 " VALUES (gen_random_uuid(), :own, :house, 60, 'EUR', 'partner_payout', 'pending', 'k', now())"),
            {
                "own": payouts.account_of(session, rich.franchise.id, "EUR", now),
                "house": ledger.house_accounts(session, "EUR", now)[AccountKind.PAYOUTS],
            },
        )  # fmt: skip
