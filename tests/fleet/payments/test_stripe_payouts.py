"""Withdrawals to accounts of riders at Stripe: opened, verified, paid once or not at all."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import Engine, select

from fleet.common.errors import InvalidInput
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments import proof, webhooks
from fleet.payments.errors import (
    PayoutAccountNotFound,
    PayoutAccountNotReady,
    PayoutAccountRefused,
    PayoutAccountsNotOffered,
    ProviderUnavailable,
)
from fleet.payments.outgoing import accounts, money_out, withdrawals
from fleet.payments.outgoing.accounts import Onboarding
from fleet.payments.outgoing.models import MoneyOutState, OwnerKind, PayoutAccount, WithdrawalState
from fleet.payments.providers.base import AccountOwner, AccountStatus, MoveOrder, OutcomeUnknown, ProviderRefused
from fleet.payments.providers.stripe import StripeProvider
from fleet.payments.reconciliation import service as reconciliation
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW
from tests.fleet.payments.stripe_server import FakeStripe
from tests.fleet.payments.test_stripe import SECRET, provider, signed, stripe, tell
from tests.fleet.payments.test_withdrawals import Counter

__all__ = ["provider", "stripe"]
CONNECT_SECRET = "whsec_connect"


class Till(Counter):
    """A counter whose riders withdraw to accounts of theirs at Stripe."""

    def onboard(self) -> Onboarding:
        owner = AccountOwner(self.rider, "CH", "rider@example.com")
        return accounts.onboard(
            self.transactions, OwnerKind.RIDER, owner, self.provider, return_url="https://app.example/back", now=NOW
        )

    def account(self) -> PayoutAccount:
        with self.transactions() as session:
            return session.scalars(select(PayoutAccount)).one()

    def ask(self, minor: int, method: UUID | None = None) -> UUID:  # type: ignore[override]  # as at a counter
        with self.transactions() as session:
            return withdrawals.request(
                session, user_id=self.rider, method_id=method, money=Money(minor, "EUR"), now=self.clock.now,
                provider=self.provider,
            ).id  # fmt: skip


@pytest.fixture
def till(books: Engine, committed_rider: UUID, stripe: FakeStripe) -> Iterator[Till]:
    till = Till(books, committed_rider)
    till.provider = StripeProvider("sk_test_voltbay", SECRET, stripe.url, CONNECT_SECRET)
    yield till
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


@pytest.fixture
def approved(till: Till, stripe: FakeStripe) -> UUID:
    """A withdrawal of 5.00 (4.80 arrive) that Stripe has to be asked for."""
    stripe.verify(till.onboard().account.provider_reference)
    till.onboard()
    withdrawal = till.ask(500)
    till.agree(withdrawal)
    return withdrawal


def sent(stripe: FakeStripe, kind: str) -> list[int]:
    return [one["amount"] for one in stripe.objects.values() if one["object"] == kind]


def test_an_account_is_opened_once_and_ready_when_stripe_says_so(till: Till, stripe: FakeStripe) -> None:
    first = till.onboard()
    assert (first.account.state, first.account.missing) == (AccountStatus.PENDING, ["individual.dob"])
    assert first.url == f"https://connect.stripe.example/{first.account.provider_reference}"
    assert till.onboard().account.id == first.account.id
    with pytest.raises(PayoutAccountNotReady) as not_yet:
        till.ask(500)
    assert not_yet.value.attributes["missing"] == ["individual.dob"]
    stripe.verify(first.account.provider_reference)
    assert tell(till, "account", first.account.provider_reference, CONNECT_SECRET)
    assert (till.account().state, till.account().missing) == (AccountStatus.ENABLED, [])
    assert till.onboard().url is None
    assert len([one for one in stripe.objects.values() if one["object"] == "account"]) == 1


def test_a_lost_answer_opens_no_second_account(till: Till, stripe: FakeStripe) -> None:
    stripe.lost[r"/v1/accounts"] = 1
    with pytest.raises(ProviderUnavailable):
        till.onboard()
    till.onboard()
    assert len([one for one in stripe.objects.values() if one["object"] == "account"]) == 1


def test_ten_times_at_once_is_one_account(till: Till) -> None:
    found = together(10, lambda _: till.onboard().account.id)
    assert set(found) == {till.account().id}


def test_an_account_that_stripe_does_not_want(till: Till, stripe: FakeStripe) -> None:
    reference = till.onboard().account.provider_reference
    stripe.objects[reference]["requirements"] = {"currently_due": [], "disabled_reason": "rejected.fraud"}
    assert tell(till, "account", reference)
    assert till.account().state is AccountStatus.REFUSED
    with pytest.raises(PayoutAccountNotReady):
        till.ask(500)
    del stripe.objects[reference]
    with pytest.raises(PayoutAccountRefused):
        till.onboard()


def test_who_has_no_account_withdraws_nothing(till: Till) -> None:
    with pytest.raises(PayoutAccountNotFound):
        till.ask(500)
    with pytest.raises(InvalidInput, match="account for payouts"):
        till.ask(500, till.method("pm_1"))
    assert till.wallet() == 1000


def test_the_sandbox_has_no_accounts(counter_of_sandbox: Till) -> None:
    with pytest.raises(PayoutAccountsNotOffered):
        counter_of_sandbox.onboard()
    with pytest.raises(InvalidInput):
        counter_of_sandbox.ask(500)
    owner = AccountOwner(counter_of_sandbox.rider, "CH", None)
    for refused in (
        lambda: counter_of_sandbox.provider.open_account(owner),
        lambda: counter_of_sandbox.provider.onboarding_link("acct_1", "https://app.example"),
    ):
        with pytest.raises(ProviderRefused):
            refused()


@pytest.fixture
def counter_of_sandbox(books: Engine, committed_rider: UUID) -> Till:
    return Till(books, committed_rider)


def test_a_withdrawal_is_a_transfer_and_a_payout(till: Till, stripe: FakeStripe, approved: UUID) -> None:
    assert till.send() == 0  # pending
    assert (sent(stripe, "transfer"), sent(stripe, "payout")) == ([480], [480])
    stripe.settle_payouts()
    payout = next(one for one in stripe.objects.values() if one["object"] == "payout")
    event = {"object": "payout", "id": payout["id"], "metadata": payout["metadata"]}
    assert tell_of(till, event)
    assert (till.state(approved), till.wallet()) == (WithdrawalState.COMPLETED, 500)


def tell_of(till: Till, data: dict[str, object]) -> bool:
    body, headers = signed({"id": "evt_1", "type": "payout.paid", "data": {"object": data}}, CONNECT_SECRET)
    with till.transactions() as session:
        stored = webhooks.receive(session, till.provider, headers, body, NOW)
        assert stored is not None
        number = stored.id
    return webhooks.process(till.transactions, number, till.provider, NOW)


@pytest.mark.parametrize("path", ["GET /v1/transfers", "POST /v1/transfers", "GET /v1/payouts", "POST /v1/payouts"])
def test_lost_answers_pay_nothing_twice(till: Till, stripe: FakeStripe, approved: UUID, path: str) -> None:
    stripe.lost[path] = 1
    with pytest.raises(OutcomeUnknown):
        till.send()
    assert till.state(approved) is WithdrawalState.APPROVED
    stripe.keys.clear()  # a day later Stripe has forgotten them
    till.send()
    assert (sent(stripe, "transfer"), sent(stripe, "payout")) == ([480], [480])
    stripe.settle_payouts()
    assert money_out.sweep(till.transactions, till.provider, till.clock.now + money_out.ASK_AFTER) == 1
    assert (till.state(approved), till.wallet()) == (WithdrawalState.COMPLETED, 500)


def test_a_payout_that_fails_is_taken_back_and_in_the_wallet(till: Till, stripe: FakeStripe, approved: UUID) -> None:
    till.send()
    stripe.settle_payouts("failed", "account_closed")
    stripe.lost[r"/v1/transfers/tr_\d+/reversals"] = 1
    with pytest.raises(OutcomeUnknown):
        till.send()
    assert till.send() == 1
    [out] = till.outs()
    assert (out.state, till.state(approved), till.wallet()) == (MoneyOutState.FAILED, WithdrawalState.FAILED, 1000)
    assert stripe.balance(out.destination) == 0


def test_an_account_that_was_closed_meanwhile(till: Till, stripe: FakeStripe, approved: UUID) -> None:
    stripe.objects[till.account().provider_reference]["payouts_enabled"] = False
    assert till.send() == 1
    assert (till.state(approved), till.wallet()) == (WithdrawalState.FAILED, 1000)
    assert (sent(stripe, "payout"), stripe.balance(till.account().provider_reference)) == ([], 0)


def test_a_payout_that_comes_back_days_later(till: Till, stripe: FakeStripe, approved: UUID) -> None:
    till.send()
    stripe.settle_payouts()
    assert till.send() == 1
    stripe.settle_payouts("failed", "account_closed")
    [out] = till.outs()
    assert out.provider_reference is not None
    assert tell(till, "transfer", out.provider_reference)
    assert (till.outs()[0].state, till.state(approved), till.wallet()) == (
        MoneyOutState.RETURNED, WithdrawalState.FAILED, 1000,
    )  # fmt: skip


def test_the_nightly_comparison_knows_payouts(till: Till, stripe: FakeStripe, approved: UUID) -> None:
    till.send()
    stripe.settle_payouts()
    stripe.now = int(till.clock.now.timestamp())
    for one in stripe.objects.values():
        one["created"] = stripe.now
    later = till.clock.now + money_out.ASK_SLOWEST * 3
    run = reconciliation.run(till.transactions, till.provider, later)
    with till.transactions() as session:
        [difference] = reconciliation.differences_of(session, run.id)
    reconciliation.repair(till.transactions, difference.id, till.provider, later)
    assert till.state(approved) is WithdrawalState.COMPLETED
    assert reconciliation.run(till.transactions, till.provider, later).differences == 0


def test_cards_are_not_paid_out_to(provider: StripeProvider, stripe: FakeStripe) -> None:
    order = MoveOrder(UUID(int=1), UUID(int=2), 480, "EUR", to="pm_1")
    with pytest.raises(ProviderRefused, match="connected"):
        provider.payout(order)
    assert sent(stripe, "transfer") == []
