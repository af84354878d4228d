"""Refunds go where the money came from, once, and never more than was paid."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.errors import Conflict, InvalidInput, NotFound
from fleet.common.money import Money
from fleet.db import new_id, session_scope
from fleet.payments import holds, ledger, proof
from fleet.payments.errors import ChargeMismatch, InsufficientFunds, RefundNotOpen, RefundTooLarge
from fleet.payments.models import AccountKind, LedgerTransfer, TransferState
from fleet.payments.outgoing import money_out, refunds
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState, Refund, RefundState
from fleet.payments.providers.base import MoveStatus, ObjectKind, OutcomeUnknown, ProviderMove
from fleet.payments.providers.sandbox import SLOW, Card
from fleet.payments.providers.sandbox.models import SandboxCharge, SandboxMove
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW, THREADS, add_rider, available
from tests.fleet.payments.test_cards import carry_out, deliver, secured, settle
from tests.fleet.payments.test_topups import Shop


class Desk(Shop):
    """A shop with an operator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        with self.transactions() as session:
            self.operator = add_rider(session)

    def ask(self, rental: UUID, minor: int | None = None) -> UUID:
        with self.transactions() as session:
            return refunds.request_for_rental(
                session, rental_id=rental, user_id=self.rider, requested_by=self.rider, amount_minor=minor,
                reason="broken cable", now=self.clock.now,
            ).id  # fmt: skip

    def ask_top_up(self, intent: UUID, minor: int | None = None) -> UUID:
        with self.transactions() as session:
            return refunds.request_for_top_up(
                session, intent_id=intent, user_id=self.rider, amount_minor=minor, reason="not needed",
                now=self.clock.now,
            ).id  # fmt: skip

    def approve(self, refund: UUID) -> RefundState:
        with self.transactions() as session:
            return refunds.approve(session, refund, approver_id=self.operator, now=self.clock.now).state

    def outs(self) -> list[MoneyOut]:
        with self.transactions() as session:
            return list(session.scalars(select(MoneyOut).order_by(MoneyOut.id)))

    def send(self) -> int:
        """What the worker does with every MoneyOutDue."""
        return sum(money_out.send(self.transactions, out.id, self.provider, self.clock.now) for out in self.outs())

    def charge(self, minor: int, kind: AccountKind = AccountKind.WALLET, rental: UUID | None = None) -> UUID:
        """A rental paid from the wallet, or with points."""
        rental = rental or new_id()
        with self.transactions() as session:
            house = ledger.house_accounts(session, "EUR", NOW)
            payer = ledger.account_for(session, self.rider, kind, "EUR", NOW).id
            ledger.transfer(
                session, debit=payer, credit=house[AccountKind.REVENUE], money=Money(minor, "EUR"),
                kind=holds.CHARGE, key=f"test:{rental}:{kind}", now=NOW, rental_id=rental,
            )  # fmt: skip
        return rental

    def by_card(self, minor: int, card: str = Card.SUCCEEDS) -> UUID:
        """A rental that its card paid, as its end does it."""
        intent, rental = secured(self, card, minor=minor)
        settle(self, rental, minor)
        carry_out(self, intent)
        return self.charge(minor, rental=rental)

    def give_points(self, minor: int) -> None:
        with self.transactions() as session:
            house = ledger.house_accounts(session, "EUR", NOW)
            bonus = ledger.account_for(session, self.rider, AccountKind.BONUS, "EUR", NOW).id
            ledger.transfer(
                session, debit=house[AccountKind.ADJUSTMENTS], credit=bonus, money=Money(minor, "EUR"),
                kind="points", key="test:points", now=NOW,
            )  # fmt: skip

    def points(self) -> int:
        with self.transactions() as session:
            account = ledger.account_for(session, self.rider, AccountKind.BONUS, "EUR", NOW)
            return ledger.totals(session, account.id).available_minor

    def wallet(self) -> int:
        with self.transactions() as session:
            return available(session, self.rider)

    def refund_state(self, refund: UUID) -> RefundState:
        with self.transactions() as session:
            return session.get_one(Refund, refund).state

    def on_cards(self) -> int:
        """What the provider gave back to cards."""
        with self.transactions() as session:
            return int(session.scalar(select(func.sum(SandboxCharge.refunded_minor))) or 0)


@pytest.fixture
def desk(books: Engine, committed_rider: UUID) -> Iterator[Desk]:
    yield Desk(books, committed_rider)
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def test_a_wallets_money_goes_back_to_the_wallet(desk: Desk) -> None:
    rental = desk.charge(400)
    assert desk.approve(desk.ask(rental, 150)) is RefundState.COMPLETED
    assert (desk.wallet(), desk.outs()) == (750, [])
    assert desk.approve(desk.ask(rental)) is RefundState.COMPLETED  # all that is left
    assert desk.wallet() == 1000


def test_points_come_back_as_points_and_never_as_cash(desk: Desk) -> None:
    desk.give_points(300)
    rental = desk.charge(300, AccountKind.BONUS)
    desk.charge(200, rental=rental)
    desk.approve(desk.ask(rental, 350))
    assert (desk.wallet(), desk.points()) == (1000, 150)
    desk.approve(desk.ask(rental))
    assert (desk.wallet(), desk.points()) == (1000, 300)


def test_a_cards_money_goes_back_to_the_card(desk: Desk) -> None:
    rental = desk.by_card(320)
    refund = desk.ask(rental, 120)
    assert desk.approve(refund) is RefundState.APPROVED
    assert (desk.wallet(), desk.on_cards()) == (1000, 0)  # not to be spent while it is on its way
    assert desk.send() == 1
    assert desk.send() == 0
    assert (desk.refund_state(refund), desk.wallet(), desk.on_cards()) == (RefundState.COMPLETED, 1000, 120)


def test_what_the_wallet_paid_beside_the_card_stays_in_the_wallet(desk: Desk) -> None:
    intent, rental = secured(desk, minor=300)
    settle(desk, rental, 300)
    carry_out(desk, intent)
    desk.charge(500, rental=rental)  # 200 of the wallet's own
    desk.approve(desk.ask(rental))
    desk.send()
    assert (desk.wallet(), desk.on_cards()) == (1000, 300)


def test_what_a_card_does_not_take_stays_in_the_wallet(desk: Desk) -> None:
    rental = desk.by_card(320, Card.REFUND_FAILS)
    refund = desk.ask(rental)
    desk.approve(refund)
    assert desk.send() == 0  # pending
    desk.clock.now += SLOW
    assert money_out.sweep(desk.transactions, desk.provider, desk.clock.now + money_out.ASK_AFTER) == 1
    (out,) = desk.outs()
    assert (out.state, out.failure_code) == (MoneyOutState.FAILED, "account_closed")
    assert (desk.refund_state(refund), desk.wallet()) == (RefundState.COMPLETED, 1320)


def test_a_lost_answer_to_a_refund_is_had_by_asking_again(desk: Desk) -> None:
    desk.approve(desk.ask(desk.by_card(320, Card.REFUND_TIMEOUT)))
    with pytest.raises(OutcomeUnknown):
        desk.send()
    assert desk.outs()[0].state is MoneyOutState.PENDING
    assert money_out.sweep(desk.transactions, desk.provider, desk.clock.now + money_out.ASK_AFTER) == 1
    assert (desk.wallet(), desk.on_cards()) == (1000, 320)


def test_a_top_up_that_is_not_spent_goes_back_to_its_card(desk: Desk) -> None:
    top_up = desk.pay(Card.SUCCEEDS).id
    desk.approve(desk.ask_top_up(top_up))
    assert desk.wallet() == 1000
    desk.send()
    assert (desk.wallet(), desk.on_cards()) == (1000, 2000)
    with pytest.raises(RefundTooLarge):
        desk.ask_top_up(top_up, 1)


def test_a_top_up_that_is_spent_is_not_refunded(desk: Desk) -> None:
    top_up = desk.pay(Card.SUCCEEDS).id
    refund = desk.ask_top_up(top_up)
    desk.charge(1500)  # of 3000
    with pytest.raises(InsufficientFunds):
        desk.approve(refund)
    assert (desk.refund_state(refund), desk.wallet(), desk.outs()) == (RefundState.REQUESTED, 1500, [])


def test_never_more_than_was_paid(desk: Desk) -> None:
    rental = desk.charge(400)
    with pytest.raises(RefundTooLarge):
        desk.ask(rental, 401)
    desk.approve(desk.ask(rental, 300))
    with pytest.raises(RefundTooLarge):
        desk.ask(rental, 101)
    for nothing in (0, -1):
        with pytest.raises(InvalidInput):
            desk.ask(rental, nothing)


def test_one_refund_of_a_rental_is_decided_at_a_time(desk: Desk) -> None:
    rental = desk.charge(400)
    first = desk.ask(rental, 100)
    with pytest.raises(RefundNotOpen):
        desk.ask(rental, 100)
    with desk.transactions() as session:
        refunds.reject(session, first, approver_id=desk.operator, note="no", now=NOW)
    with pytest.raises(RefundNotOpen):
        desk.approve(first)
    assert desk.wallet() == 600
    desk.ask(rental, 100)


def test_nobody_decides_on_a_refund_to_themselves(desk: Desk) -> None:
    refund = desk.ask(desk.charge(400))
    with pytest.raises(Conflict, match="themselves"), desk.transactions() as session:
        refunds.approve(session, refund, approver_id=desk.rider, now=NOW)
    forced = update(Refund).values(state=RefundState.APPROVED, decided_by=desk.rider, decided_at=NOW)
    with pytest.raises(IntegrityError, match="ck_refund_approver"), desk.transactions() as session:
        session.execute(forced)


def test_strangers_rentals_and_top_ups_are_not_there(desk: Desk) -> None:
    rental, top_up = desk.charge(400), desk.pay(Card.DECLINED).id
    with pytest.raises(NotFound), desk.transactions() as session:
        refunds.request_for_rental(
            session, rental_id=rental, user_id=desk.operator, requested_by=desk.operator, amount_minor=None,
            reason="mine", now=NOW,
        )  # fmt: skip
    with pytest.raises(NotFound):
        desk.ask_top_up(top_up)  # it brought nothing


def test_fifty_approvals_give_back_once(desk: Desk) -> None:
    refund = desk.ask(desk.by_card(320))
    outcomes = together(THREADS, lambda _: desk.approve(refund))
    assert sum(outcome is RefundState.APPROVED for outcome in outcomes) == 1
    assert sum(isinstance(outcome, RefundNotOpen) for outcome in outcomes) == THREADS - 1
    (out,) = desk.outs()
    sent = together(THREADS, lambda _: money_out.send(desk.transactions, out.id, desk.provider, desk.clock.now))
    assert sum(one is True for one in sent) == 1
    assert (desk.wallet(), desk.on_cards()) == (1000, 320)


def test_webhooks_of_refunds_ten_times_and_shuffled_are_the_same_ledger(desk: Desk) -> None:
    """A crash after the provider gave it back: only its webhook, and the sweep, know."""
    desk.approve(desk.ask(desk.by_card(320)))
    (out,) = desk.outs()
    desk.provider.refund(money_out.order_of(out))
    for seed in range(2):
        deliver(desk, times=10, seed=seed)
        money_out.sweep(desk.transactions, desk.provider, desk.clock.now + money_out.ASK_AFTER)
    assert desk.outs()[0].state is MoneyOutState.SUCCEEDED
    with desk.transactions() as session:
        moved = session.scalars(select(LedgerTransfer.state).where(LedgerTransfer.kind == refunds.CARD_REFUND)).all()
        assert session.scalar(select(func.count()).select_from(SandboxMove)) == 1
    assert (moved, desk.wallet()) == ([TransferState.POSTED], 1000)


def test_another_refund_than_was_asked_for_is_not_booked(desk: Desk) -> None:
    desk.approve(desk.ask(desk.by_card(320)))
    (out,) = desk.outs()

    def claims(session: Session, minor: int, kind: ObjectKind) -> None:
        move = ProviderMove(kind, "re_1", MoveStatus.SUCCEEDED, minor, "EUR", out.id)
        money_out.apply_move(session, move, NOW)

    for minor, kind in ((321, ObjectKind.REFUND), (320, ObjectKind.PAYOUT)):
        with pytest.raises(ChargeMismatch), desk.transactions() as session:
            claims(session, minor, kind)
    with pytest.raises(NotFound), desk.transactions() as session:
        money_out.apply_move(session, ProviderMove(ObjectKind.REFUND, "re_2", MoveStatus.FAILED, 1, "EUR", None), NOW)
    assert desk.outs()[0].state is MoneyOutState.PENDING


def test_the_sweep_asks_ever_more_slowly(desk: Desk) -> None:
    desk.approve(desk.ask(desk.by_card(320, Card.REFUND_FAILS)))
    for _ in range(3):
        desk.clock.now += timedelta(seconds=1)
        money_out.sweep(desk.transactions, desk.provider, desk.clock.now)
    assert desk.outs()[0].provider_reference is None  # too early to ask
