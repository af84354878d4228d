"""Withdrawals: reserved at the request, limits that count, paid once or not at all."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from pydantic import JsonValue
from sqlalchemy import Engine, select

from fleet.common.errors import Conflict, InvalidInput, NotFound
from fleet.common.models import Country
from fleet.common.money import Money
from fleet.config import service as config
from fleet.db import new_id, session_scope
from fleet.payments import proof
from fleet.payments.errors import (
    InsufficientFunds,
    PaymentMethodNotFound,
    WithdrawalLimitReached,
    WithdrawalNotOpen,
    WithdrawalsNotOffered,
)
from fleet.payments.models import AccountKind
from fleet.payments.outgoing import money_out, rules, withdrawals
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState, Withdrawal, WithdrawalState
from fleet.payments.outgoing.rules import WithdrawalPolicy
from fleet.payments.providers.base import OutcomeUnknown
from fleet.payments.providers.sandbox import SLOW, Card
from fleet.users.models import User
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW
from tests.fleet.payments.saving import save_card
from tests.fleet.payments.test_cards import deliver
from tests.fleet.payments.test_refunds import Desk

EURO: dict[str, JsonValue] = {
    "min_minor": 100, "day_minor": 600, "month_minor": 900, "fee_bp": 200, "fee_minor": 10, "countries": ["CH"],
}  # fmt: skip


class Counter(Desk):
    """A desk where riders of Switzerland may withdraw."""

    def __post_init__(self) -> None:
        super().__post_init__()
        with self.transactions() as session:
            config.put(session, withdrawals.POLICY.name, {"EUR": EURO}, NOW)
            for code in ("CH", "DE"):
                session.add(
                    Country(iso_code=code, name=code, dial_code="+4", currency="EUR", locale="de", time_zone="x")
                )
            session.flush()
            user = session.get_one(User, self.rider)
            user.country, user.time_zone = "CH", "Europe/Zurich"

    def method(self, card: str = Card.SUCCEEDS) -> UUID:
        return save_card(self.transactions, self.rider, card, self.provider, self.clock.now).id

    def ask(self, minor: int, method: UUID | None = None) -> UUID:  # type: ignore[override]  # another desk's question
        with self.transactions() as session:
            return withdrawals.request(
                session, user_id=self.rider, method_id=method or self.method(), money=Money(minor, "EUR"),
                now=self.clock.now,
            ).id  # fmt: skip

    def agree(self, withdrawal: UUID) -> WithdrawalState:
        with self.transactions() as session:
            return withdrawals.approve(session, withdrawal, approver_id=self.operator, now=self.clock.now).state

    def state(self, withdrawal: UUID) -> WithdrawalState:  # type: ignore[override]  # of a withdrawal here
        with self.transactions() as session:
            return session.get_one(Withdrawal, withdrawal).state


@pytest.fixture
def counter(books: Engine, committed_rider: UUID) -> Iterator[Counter]:
    yield Counter(books, committed_rider)
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def test_a_withdrawal_is_reserved_agreed_to_and_paid(counter: Counter) -> None:
    withdrawal = counter.ask(500)
    assert counter.wallet() == 500
    assert counter.agree(withdrawal) is WithdrawalState.APPROVED
    assert counter.send() == 1
    (out,) = counter.outs()
    assert (out.amount_minor, out.state) == (480, MoneyOutState.SUCCEEDED)  # 2 % and 10 of fee
    assert (counter.state(withdrawal), counter.wallet()) == (WithdrawalState.COMPLETED, 500)


@pytest.mark.parametrize("end", ["cancel", "reject"])
def test_what_is_not_paid_is_free_again(counter: Counter, end: str) -> None:
    withdrawal = counter.ask(500)
    with counter.transactions() as session:
        if end == "cancel":
            withdrawals.cancel(session, user_id=counter.rider, withdrawal_id=withdrawal, now=NOW)
        else:
            withdrawals.reject(session, withdrawal, approver_id=counter.operator, note="no", now=NOW)
    assert counter.wallet() == 1000
    with pytest.raises(WithdrawalNotOpen):
        counter.agree(withdrawal)
    assert counter.ask(600)  # it does not count for the day


def test_points_are_not_paid_out(counter: Counter) -> None:
    counter.give_points(5000)
    counter.charge(800)
    with pytest.raises(InsufficientFunds):
        counter.ask(300)
    assert counter.points() == 5000


def test_limits_count_what_was_asked_for(counter: Counter) -> None:
    counter.ask(400)
    with pytest.raises(WithdrawalLimitReached) as caught:
        counter.ask(201)
    assert (caught.value.attributes["left_minor"], caught.value.attributes["period"]) == (200, "day")
    counter.clock.now += timedelta(days=1)
    counter.ask(450)
    counter.clock.now += timedelta(days=1)
    with pytest.raises(WithdrawalLimitReached) as caught:
        counter.ask(100)
    assert (caught.value.attributes["left_minor"], caught.value.attributes["period"]) == (50, "month")


def test_parallel_requests_cannot_pass_a_limit(counter: Counter) -> None:
    method = counter.method()
    outcomes = together(50, lambda _: counter.ask(200, method))
    assert sum(isinstance(outcome, UUID) for outcome in outcomes) == 3
    assert sum(isinstance(outcome, WithdrawalLimitReached) for outcome in outcomes) == 47
    assert counter.wallet() == 400


@pytest.mark.parametrize("minor", [99, 0])
def test_there_is_a_least_amount(counter: Counter, minor: int) -> None:
    with pytest.raises(InvalidInput):
        counter.ask(minor)


def test_only_where_the_country_allows(counter: Counter) -> None:
    method = counter.method()
    with counter.transactions() as session:
        session.get_one(User, counter.rider).country = "DE"
    with pytest.raises(WithdrawalsNotOffered):
        counter.ask(200, method)
    with pytest.raises(WithdrawalsNotOffered), counter.transactions() as session:
        withdrawals.request(session, user_id=counter.rider, method_id=method, money=Money(200, "USD"), now=NOW)


def test_only_to_ones_own_method_and_only_ones_own(counter: Counter) -> None:
    withdrawal = counter.ask(200)
    with pytest.raises(PaymentMethodNotFound):
        counter.ask(200, new_id())
    with pytest.raises(NotFound), counter.transactions() as session:
        withdrawals.cancel(session, user_id=counter.operator, withdrawal_id=withdrawal, now=NOW)
    with pytest.raises(Conflict, match="of their own"), counter.transactions() as session:
        withdrawals.approve(session, withdrawal, approver_id=counter.rider, now=NOW)


def test_a_payout_that_fails_is_in_the_wallet_again_without_a_fee(counter: Counter) -> None:
    withdrawal = counter.ask(500, counter.method(Card.PAYOUT_FAILS))
    counter.agree(withdrawal)
    assert counter.send() == 1
    assert (counter.state(withdrawal), counter.wallet()) == (WithdrawalState.FAILED, 1000)


def test_a_payout_that_comes_back_later_is_in_the_wallet_again(counter: Counter) -> None:
    withdrawal = counter.ask(500, counter.method(Card.PAYOUT_RETURNED))
    counter.agree(withdrawal)
    counter.send()
    assert counter.state(withdrawal) is WithdrawalState.COMPLETED
    counter.clock.now += SLOW
    deliver(counter, times=5)
    assert (counter.state(withdrawal), counter.wallet()) == (WithdrawalState.FAILED, 1000)
    assert counter.outs()[0].state is MoneyOutState.RETURNED


def test_a_payout_without_an_answer_is_paid_once(counter: Counter) -> None:
    withdrawal = counter.ask(500, counter.method(Card.PAYOUT_TIMEOUT))
    counter.agree(withdrawal)
    with pytest.raises(OutcomeUnknown):
        counter.send()
    assert counter.state(withdrawal) is WithdrawalState.APPROVED
    assert money_out.sweep(counter.transactions, counter.provider, counter.clock.now + money_out.ASK_AFTER) == 1
    deliver(counter, times=3)
    assert (counter.state(withdrawal), counter.wallet()) == (WithdrawalState.COMPLETED, 500)


def test_fifty_decisions_are_one(counter: Counter) -> None:
    withdrawal = counter.ask(500)

    def decide(number: int) -> WithdrawalState:
        if number % 2:
            return counter.agree(withdrawal)
        with counter.transactions() as session:
            return withdrawals.cancel(session, user_id=counter.rider, withdrawal_id=withdrawal, now=NOW).state

    outcomes = together(50, decide)
    assert sum(isinstance(outcome, WithdrawalState) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, WithdrawalNotOpen) for outcome in outcomes) == 49
    counter.send()
    with counter.transactions() as session:
        paid = session.scalars(select(MoneyOut.state)).all()
    assert (counter.wallet(), len(paid)) in {(500, 1), (1000, 0)}


def test_bonus_and_wallet_are_two_accounts(counter: Counter) -> None:
    counter.give_points(100)
    counter.ask(500)
    assert (counter.wallet(), counter.points()) == (500, 100)
    rental = counter.charge(100, AccountKind.BONUS)
    assert rental


def test_the_fee_is_a_share_and_a_flat_part() -> None:
    policy = WithdrawalPolicy(min_minor=1, day_minor=1, month_minor=1, fee_bp=200, fee_minor=10)
    assert [policy.fee(amount) for amount in (100, 125, 10_000)] == [12, 13, 210]


def test_days_and_months_are_the_riders() -> None:
    """Half past midnight in Zurich on the day on which the clocks went forward."""
    now = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)
    day, month = rules.day_and_month(now, "Europe/Zurich")
    assert (day.astimezone(UTC), month.astimezone(UTC)) == (datetime(2026, 3, 31, 22, tzinfo=UTC),) * 2
