"""A proof that cannot fail proves nothing: each kind of damage, done behind the triggers' backs, is found."""

from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.db import new_id
from fleet.payments import adjustments, holds, ledger, proof, wallets
from fleet.payments.adjustments import AdjustmentRequest
from fleet.payments.intent_models import IntentState, PaymentIntent
from fleet.payments.models import AccountKind
from tests.fleet.payments.conftest import NOW, add_rider, hold_for_rental


@pytest.fixture
def busy(session: Session, rider: UUID) -> UUID:
    """Books with a transfer, a hold, an adjustment and a top-up in them."""
    rental = new_id()
    holds.capture_for_rental(
        session, hold_id=None, rental_id=rental, user_id=rider, now=NOW,
        parts=[(AccountKind.REVENUE, Money(300, "EUR"))],
    )  # fmt: skip
    hold_for_rental(session, user_id=rider, rental_id=new_id(), money=Money(200, "EUR"), now=NOW)
    wanted = AdjustmentRequest(rider, Money(500, "EUR"), "goodwill")
    adjustments.request(session, wanted, actor_id=rider, limit_minor=500, now=NOW)
    intent = PaymentIntent(
        user_id=rider, purpose="top_up", amount_minor=500, captured_minor=500, currency="EUR", provider="sandbox",
        state=IntentState.SUCCEEDED, created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    session.add(intent)
    session.flush()
    ledger.transfer(
        session, debit=ledger.house_accounts(session, "EUR", NOW)[AccountKind.PROVIDER_CLEARING],
        credit=wallets.wallet_of(session, rider, "EUR", NOW).account_id, money=Money(500, "EUR"), kind="top_up",
        key=f"topup:{intent.id}", now=NOW, intent_id=intent.id,
    )  # fmt: skip
    return rider


def test_good_books_are_proven(session: Session, busy: UUID) -> None:
    found = proof.prove(session, NOW)
    assert found.ok
    assert found.problems == ()
    assert found.transfers == 5
    assert found.accounts == 13


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE ledger_account SET credits_posted = credits_posted + 1 WHERE kind = 'wallet'", "account totals"),
        ("UPDATE ledger_account SET debits_pending = debits_pending - 1 WHERE kind = 'wallet'", "account totals"),
        ("UPDATE ledger_account SET credits_posted = credits_posted - 1 WHERE kind = 'revenue'", "account totals"),
        ("UPDATE ledger_account SET credits_posted = credits_posted - 1 WHERE kind = 'revenue'", "currency does not"),
        ("UPDATE ledger_transfer SET posted_minor = 299 WHERE kind = 'rental_charge'", "account totals"),
        ("DELETE FROM ledger_transfer WHERE kind = 'rental_charge'", "account totals"),
        ("DELETE FROM ledger_transfer WHERE kind = 'top_up'", "payment is not"),
        ("UPDATE ledger_transfer SET currency = 'USD' WHERE kind = 'rental_charge'", "transfer is in another"),
        ("UPDATE payment_intent SET state = 'failed', captured_minor = NULL", "clearing moved without"),
        ("UPDATE payment_intent SET captured_minor = 499", "payment is not"),
        ("UPDATE wallet SET user_id = :other", "wallet does not name"),
        ("UPDATE wallet_transaction SET balance_minor = balance_minor - 1", "statement does not end"),
        ("DELETE FROM wallet_transaction WHERE amount_minor = -300", "line of a statement does not follow"),
        ("UPDATE wallet_transaction SET amount_minor = -301 WHERE amount_minor = -300", "line of a statement is not"),
        ("UPDATE wallet_adjustment SET amount_minor = 499", "applied adjustment did not"),
        ("UPDATE wallet_adjustment SET amount_minor = -500", "applied adjustment did not"),
    ],
)
def test_damage_is_found(session: Session, busy: UUID, damage: str, problem: str) -> None:
    other = add_rider(session)
    ledger.apply_house_now(session)
    session.execute(text("SET LOCAL session_replication_role = replica"))  # no triggers
    session.execute(text(damage), {"other": other} if ":other" in damage else {})
    found = proof.prove(session, NOW)
    assert not found.ok
    assert any(entry.startswith(problem) for entry in found.problems)


def test_a_check_of_another_area_is_made_too(session: Session, busy: UUID) -> None:
    found = proof.prove(session, NOW, {"there are riders": "SELECT id::text FROM app_user"})
    assert (found.ok, found.problems) == (False, (f"there are riders: {busy}",))


def test_reports_are_kept_and_never_changed(session: Session, busy: UUID) -> None:
    kept = proof.keep(session, proof.prove(session, NOW))
    assert proof.reports(session, 5)[0].id == kept.id
    assert (kept.ok, kept.problems, kept.transfers) == (True, [], 5)
    for damage in ("UPDATE ledger_proof_run SET ok = false", "DELETE FROM ledger_proof_run"):
        with pytest.raises(IntegrityError, match="append-only"), session.begin_nested():
            session.execute(text(damage))
