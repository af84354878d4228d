"""Payouts to partners by the payment provider: once, and never beside what a person says."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.errors import IllegalTransition
from fleet.partners import payouts, sending
from fleet.partners.errors import PayoutOnItsWay
from fleet.partners.models import PayoutRequest, PayoutState
from fleet.payments.errors import PayoutAccountNotFound, PayoutAccountNotReady
from fleet.payments.models import AccountKind
from fleet.payments.outgoing import accounts, money_out
from fleet.payments.outgoing.models import MoneyOut, OwnerKind
from fleet.payments.providers.base import AccountOwner, MoveStatus, ObjectKind, ProviderMove
from fleet.payments.providers.stripe import StripeProvider
from tests.fleet.partners.conftest import Trade
from tests.fleet.partners.test_payouts import ask, left, people, rich
from tests.fleet.payments.stripe_server import FakeStripe
from tests.fleet.payments.test_stripe import provider, stripe

__all__ = ["people", "provider", "rich", "stripe"]


@contextmanager
def _same(session: Session) -> Iterator[Session]:
    """The test's own transaction stands for each of the service's."""
    with nullcontext(session):
        yield session
        session.flush()


def open_account(trade: Trade, provider: StripeProvider) -> str:
    return accounts.onboard(
        lambda: _same(trade.world.session), OwnerKind.PARTNER, AccountOwner(trade.franchise.id, "CH", None), provider,
        return_url="https://partner.example", now=trade.world.now,
    ).account.provider_reference  # fmt: skip


@pytest.fixture
def approved(rich: Trade, people: tuple[UUID, UUID], provider: StripeProvider, stripe: FakeStripe) -> PayoutRequest:
    """Of 0.50, of a partner with an account."""
    stripe.verify(open_account(rich, provider))
    open_account(rich, provider)
    payout = ask(rich, 50, people[0])
    return payouts.approve(rich.world.session, payout.id, actor_id=people[1], now=rich.world.now)


def carry_out(trade: Trade, provider: StripeProvider) -> MoneyOut:
    """What the worker does with the movement, and with what became of it, twice."""
    session, now = trade.world.session, trade.world.now
    out = session.scalars(select(MoneyOut)).one()
    for _ in range(2):
        money_out.send(lambda: _same(session), out.id, provider, now)
        sending.follow(session, out.id, now)
        trade.check()
    return out


def test_an_approved_payout_is_sent_once(
    rich: Trade, approved: PayoutRequest, provider: StripeProvider, stripe: FakeStripe
) -> None:
    session, now = rich.world.session, rich.world.now
    for _ in range(3):
        assert sending.send(session, approved.id, provider, now).state is PayoutState.PROCESSING
    out = carry_out(rich, provider)
    assert approved.state is PayoutState.PROCESSING
    stripe.settle_payouts()
    carry_out(rich, provider)
    assert (approved.state, approved.reference, rich.owed(rich.franchise)) == (
        PayoutState.COMPLETED, out.provider_reference, 9,
    )  # fmt: skip
    assert (rich.house(AccountKind.PAYOUTS), stripe.balance(out.destination)) == (50, 0)
    assert len([one for one in stripe.objects.values() if one["object"] == "transfer"]) == 1


def test_what_the_provider_has_is_not_sent_by_hand_as_well(
    rich: Trade, approved: PayoutRequest, people: tuple[UUID, UUID], provider: StripeProvider
) -> None:
    session, now = rich.world.session, rich.world.now
    sending.send(session, approved.id, provider, now)
    with pytest.raises(PayoutOnItsWay):
        payouts.complete(session, approved.id, reference="SEPA-1", now=now)
    with pytest.raises(PayoutOnItsWay):
        payouts.reject(session, approved.id, actor_id=people[1], reason="late", now=now)
    assert left(rich) == 9
    rich.check()


def test_what_the_bank_has_is_not_sent_by_the_provider(
    rich: Trade, approved: PayoutRequest, provider: StripeProvider
) -> None:
    session, now = rich.world.session, rich.world.now
    payouts.process(session, approved.id)
    with pytest.raises(IllegalTransition):
        sending.send(session, approved.id, provider, now)
    payouts.complete(session, approved.id, reference="SEPA-1", now=now)
    rich.check()


def test_one_that_fails_is_the_partners_again(
    rich: Trade, approved: PayoutRequest, provider: StripeProvider, stripe: FakeStripe
) -> None:
    sending.send(rich.world.session, approved.id, provider, rich.world.now)
    carry_out(rich, provider)
    stripe.settle_payouts("failed", "account_closed")
    carry_out(rich, provider)
    assert (approved.state, approved.reason, left(rich)) == (PayoutState.FAILED, "account_closed", 59)


def test_one_that_comes_back_is_the_partners_again(
    rich: Trade, approved: PayoutRequest, provider: StripeProvider, stripe: FakeStripe
) -> None:
    session, now = rich.world.session, rich.world.now
    sending.send(session, approved.id, provider, now)
    carry_out(rich, provider)
    stripe.settle_payouts()
    out = carry_out(rich, provider)
    assert out.provider_reference is not None
    word = provider.fetch(ObjectKind.PAYOUT, out.provider_reference)
    assert isinstance(word, ProviderMove)
    assert money_out.apply_move(session, replace(word, status=MoveStatus.FAILED), now)
    for _ in range(2):
        sending.follow(session, out.id, now)
    assert (approved.state, rich.owed(rich.franchise), rich.house(AccountKind.PAYOUTS)) == (PayoutState.FAILED, 59, 0)
    rich.check()


def test_without_an_account_that_is_ready_nothing_is_sent(
    rich: Trade, people: tuple[UUID, UUID], provider: StripeProvider
) -> None:
    session, now = rich.world.session, rich.world.now
    payout = payouts.approve(session, ask(rich, 50, people[0]).id, actor_id=people[1], now=now)
    with pytest.raises(PayoutAccountNotFound):
        sending.send(session, payout.id, provider, now)
    open_account(rich, provider)
    with pytest.raises(PayoutAccountNotReady):
        sending.send(session, payout.id, provider, now)
    assert payout.state is PayoutState.APPROVED
