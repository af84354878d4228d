"""Our books against the provider's list: what differs is found, and repaired by the way of a webhook."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from fleet.common.errors import NotFound
from fleet.db import new_id, session_scope
from fleet.payments import proof
from fleet.payments.errors import NothingToRepair
from fleet.payments.intent_models import IntentState
from fleet.payments.outgoing import money_out
from fleet.payments.outgoing.models import MoneyOutState
from fleet.payments.providers.base import ChargeOrder, OutcomeUnknown, ProviderCharge, ProviderObject
from fleet.payments.providers.sandbox import Card, SandboxProvider
from fleet.payments.reconciliation import service
from fleet.payments.reconciliation.models import DifferenceKind, Proposal, ReconciliationDifference
from tests.fleet.parallel import together
from tests.fleet.payments.conftest import NOW
from tests.fleet.payments.test_refunds import Desk
from tests.fleet.payments.test_topups import SECRET


@pytest.fixture
def desk(books: Engine, committed_rider: UUID) -> Iterator[Desk]:
    yield Desk(books, committed_rider)
    with session_scope(books) as session:
        assert proof.prove(session, NOW).problems == ()


def reconcile(desk: Desk) -> list[ReconciliationDifference]:
    """As the nightly job does it, some hours later."""
    run = service.run(desk.transactions, desk.provider, desk.clock.now + timedelta(hours=3))
    with desk.transactions() as session:
        found = service.differences_of(session, run.id)
    assert run.differences == len(found)
    return found


def test_books_that_agree_have_no_differences(desk: Desk) -> None:
    for card in (Card.SUCCEEDS, Card.DECLINED):
        desk.pay(card)
    desk.approve(desk.ask(desk.by_card(320)))
    desk.send()
    assert reconcile(desk) == []
    with desk.transactions() as session:
        (run,) = service.runs(session, 10)
    assert (run.compared, run.provider) == (4, "sandbox")


def test_a_charge_of_which_we_never_heard_is_applied(desk: Desk) -> None:
    intent = desk.pay(Card.TIMEOUT_CHARGED)
    (found,) = reconcile(desk)
    assert (found.kind, found.proposal, found.our_id) == (DifferenceKind.STATE, Proposal.APPLY, intent.id)
    assert (found.ours, found.theirs, found.amount_minor) == ("unknown", "succeeded", 2000)
    outcomes = together(5, lambda _: service.repair(desk.transactions, found.id, desk.provider, NOW))
    assert any(isinstance(outcome, ReconciliationDifference) for outcome in outcomes)
    assert (desk.state(intent.id), desk.credited()) == (IntentState.SUCCEEDED, 2000)
    with pytest.raises(NothingToRepair):
        service.repair(desk.transactions, found.id, desk.provider, NOW)
    assert reconcile(desk) == []


def test_a_refund_of_which_we_never_heard_is_applied(desk: Desk) -> None:
    desk.approve(desk.ask(desk.by_card(320)))
    (out,) = desk.outs()
    desk.provider.refund(money_out.order_of(out))
    (found,) = reconcile(desk)
    assert (found.kind, found.about, found.our_id) == (DifferenceKind.STATE, "refund", out.id)
    service.repair(desk.transactions, found.id, desk.provider, NOW)
    assert desk.outs()[0].state is MoneyOutState.SUCCEEDED


def test_a_charge_that_is_nobodys_is_for_people(desk: Desk) -> None:
    desk.provider.authorize(ChargeOrder(new_id(), desk.rider, 700, "EUR"), Card.SUCCEEDS)
    (found,) = reconcile(desk)
    assert (found.kind, found.proposal, found.our_id) == (DifferenceKind.UNKNOWN_TO_US, Proposal.INVESTIGATE, None)
    with pytest.raises(NothingToRepair):
        service.repair(desk.transactions, found.id, desk.provider, NOW)
    assert desk.credited() == 0


class Changed(SandboxProvider):
    """Lists something else than it told us."""

    def listing(self, since: datetime, until: datetime) -> Iterator[ProviderObject]:
        for one in super().listing(since, until):
            if isinstance(one, ProviderCharge):
                yield replace(one, amount_minor=1999, captured_minor=1999)


class Forgetful(SandboxProvider):
    def listing(self, since: datetime, until: datetime) -> Iterator[ProviderObject]:
        assert since < until
        yield from ()


class Away(SandboxProvider):
    def listing(self, since: datetime, until: datetime) -> Iterator[ProviderObject]:
        raise OutcomeUnknown(f"no route from {since} to {until}")


def test_another_amount_than_was_booked_is_for_people(desk: Desk) -> None:
    desk.pay(Card.SUCCEEDS)
    desk.provider = Changed(desk.engine, SECRET, desk.clock)
    (found,) = reconcile(desk)
    assert (found.kind, found.amount_minor, found.proposal) == (DifferenceKind.AMOUNT, 1999, Proposal.INVESTIGATE)


def test_what_we_booked_and_the_provider_does_not_list(desk: Desk) -> None:
    intent = desk.pay(Card.SUCCEEDS)
    desk.provider = Forgetful(desk.engine, SECRET, desk.clock)
    (found,) = reconcile(desk)
    assert (found.kind, found.our_id, found.theirs) == (DifferenceKind.MISSING_THERE, intent.id, None)


def test_nothing_is_kept_when_the_provider_does_not_answer(desk: Desk) -> None:
    desk.provider = Away(desk.engine, SECRET, desk.clock)
    with pytest.raises(OutcomeUnknown):
        reconcile(desk)
    with desk.transactions() as session:
        assert session.scalar(text("SELECT count(*) FROM reconciliation_run")) == 0
    with pytest.raises(NotFound), desk.transactions() as session:
        service.differences_of(session, new_id())
