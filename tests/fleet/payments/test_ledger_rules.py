"""The ledger's rules hold against SQL, not only against our code."""

from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.db import new_id
from fleet.payments import ledger, wallets
from fleet.payments.models import AccountKind, LedgerTransfer
from tests.fleet.payments.conftest import NOW, add_rider


@pytest.fixture
def wallet(session: Session, rider: UUID) -> UUID:
    return wallets.wallet_of(session, rider, "EUR", NOW).account_id


@pytest.fixture
def revenue(session: Session) -> UUID:
    return ledger.house_accounts(session, "EUR", NOW)[AccountKind.REVENUE]


@pytest.fixture
def held(session: Session, wallet: UUID, revenue: UUID) -> LedgerTransfer:
    return ledger.hold(session, debit=wallet, credit=revenue, money=Money(400, "EUR"), kind="test", key="h", now=NOW)


@pytest.fixture
def moved(session: Session, wallet: UUID, revenue: UUID) -> LedgerTransfer:
    return ledger.transfer(
        session, debit=wallet, credit=revenue, money=Money(400, "EUR"), kind="test", key="t", now=NOW
    )


def refused(session: Session, constraint: str, statement: str, **parameters: object) -> None:
    with pytest.raises(IntegrityError) as caught:
        session.execute(text(statement), parameters)
    assert caught.value.orig is not None
    assert getattr(caught.value.orig, "diag").constraint_name == constraint  # noqa: B009  # psycopg2's own attribute


INSERT = (
    "INSERT INTO ledger_transfer (id, debit_account_id, credit_account_id, amount_minor, posted_minor, currency, kind,"
    " state, idempotency_key, created_at, settled_at)"
    " VALUES (:id, :debit, :credit, :amount, :posted, :currency, 'sql', :state, :key, :at, :settled)"
)


def row(debit: UUID, credit: UUID, **changes: object) -> dict[str, object]:
    whole = {
        "id": new_id(), "debit": debit, "credit": credit, "amount": 100, "posted": 100, "currency": "EUR",
        "state": "posted", "key": "sql", "at": NOW, "settled": NOW,
    }  # fmt: skip
    return whole | changes


IMMUTABLE = "ck_ledger_transfer_immutable"


@pytest.mark.parametrize(
    "change",
    [
        "amount_minor = 1",
        "posted_minor = 399",
        "currency = 'USD'",
        "kind = 'other'",
        "idempotency_key = 'other'",
        "memo = 'other'",
        "state = 'voided', posted_minor = NULL",
        "state = 'pending', posted_minor = NULL, settled_at = NULL",
        "debit_account_id = credit_account_id, credit_account_id = debit_account_id",
        "rental_id = '00000000-0000-0000-0000-000000000001'",
        "created_at = now()",
        "settled_at = now()",
    ],
)
def test_posted_transfers_never_change(session: Session, moved: LedgerTransfer, change: str) -> None:
    refused(session, IMMUTABLE, f"UPDATE ledger_transfer SET {change} WHERE id = :id", id=moved.id)


@pytest.mark.parametrize(
    "change",
    [
        "amount_minor = 500",
        "state = 'posted', posted_minor = 400, settled_at = now(), memo = 'other'",
        "state = 'posted', posted_minor = 400, settled_at = now(), amount_minor = 900",
        "state = 'posted', posted_minor = 400, settled_at = now(), credit_account_id = debit_account_id",
        "state = 'voided', settled_at = now(), idempotency_key = 'other'",
        "settled_at = now()",
    ],
)
def test_holds_change_by_being_settled_only(session: Session, held: LedgerTransfer, change: str) -> None:
    refused(session, IMMUTABLE, f"UPDATE ledger_transfer SET {change} WHERE id = :id", id=held.id)


@pytest.mark.parametrize(
    "change",
    [
        "state = 'posted', posted_minor = 401, settled_at = now()",
        "state = 'posted', posted_minor = 0, settled_at = now()",
        "state = 'posted', settled_at = now()",
        "state = 'voided', posted_minor = 1, settled_at = now()",
    ],
)
def test_a_hold_is_posted_for_at_most_its_amount(session: Session, held: LedgerTransfer, change: str) -> None:
    constraint = "ck_ledger_transfer_posted_minor"
    refused(session, constraint, f"UPDATE ledger_transfer SET {change} WHERE id = :id", id=held.id)


def test_settling_has_a_time(session: Session, held: LedgerTransfer) -> None:
    statement = "UPDATE ledger_transfer SET state = 'voided' WHERE id = :id"
    refused(session, "ck_ledger_transfer_settled_at", statement, id=held.id)


def test_transfers_are_never_deleted(session: Session, moved: LedgerTransfer) -> None:
    refused(session, IMMUTABLE, "DELETE FROM ledger_transfer WHERE id = :id", id=moved.id)


def test_transfers_are_never_truncated(session: Session, moved: LedgerTransfer) -> None:
    ledger.apply_house_now(session)  # PostgreSQL truncates no table with triggers still to fire
    refused(session, IMMUTABLE, "TRUNCATE ledger_transfer CASCADE")


def test_accounts_are_never_truncated(session: Session, moved: LedgerTransfer) -> None:
    ledger.apply_house_now(session)
    with pytest.raises(IntegrityError, match=r"never deleted|through transfers only"):
        session.execute(text("TRUNCATE ledger_account CASCADE"))


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"amount": 0, "posted": 0}, "ck_ledger_transfer_amount"),
        ({"amount": -100, "posted": -100}, "ck_ledger_transfer_amount"),
        ({"posted": 60}, "ck_ledger_transfer_birth"),
        ({"posted": None}, "ck_ledger_transfer_birth"),
        ({"state": "voided", "posted": None}, "ck_ledger_transfer_birth"),
        ({"state": "lost", "posted": None}, "ck_ledger_transfer_state"),
        ({"currency": "USD"}, "ck_ledger_transfer_currency"),
        ({"settled": None}, "ck_ledger_transfer_settled_at"),
        ({"amount": 1001, "posted": 1001}, "ck_ledger_account_no_overdraft"),
        ({"amount": 1001, "posted": None, "state": "pending", "settled": None}, "ck_ledger_account_no_overdraft"),
    ],
)
def test_what_cannot_be_born(
    session: Session, wallet: UUID, revenue: UUID, changes: dict[str, object], constraint: str
) -> None:
    refused(session, constraint, INSERT, **row(wallet, revenue, **changes))


def test_one_account_is_not_two_sides(session: Session, wallet: UUID) -> None:
    refused(session, "ck_ledger_transfer_two_sides", INSERT, **row(wallet, wallet))


def test_accounts_of_two_currencies_never_meet(session: Session, wallet: UUID) -> None:
    dollars = ledger.house_accounts(session, "USD", NOW)[AccountKind.REVENUE]
    refused(session, "ck_ledger_transfer_currency", INSERT, **row(wallet, dollars))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_account SET credits_posted = credits_posted + 1 WHERE id = :id",
        "UPDATE ledger_account SET overdraft_allowed = true WHERE id = :id",
        "UPDATE ledger_account SET owner_id = NULL WHERE id = :id",
        "UPDATE ledger_account SET currency = 'USD' WHERE id = :id",
        "DELETE FROM ledger_account WHERE id = :id",
    ],
)
def test_accounts_change_through_transfers_only(session: Session, wallet: UUID, statement: str) -> None:
    refused(session, "ck_ledger_account_immutable", statement, id=wallet)


OPEN = (
    "INSERT INTO ledger_account"
    " (id, owner_id, kind, currency, normal_side, overdraft_allowed, credits_posted, created_at)"
    " VALUES (:id, :owner, :kind, 'EUR', 'credit', :overdraft, :credits, :at)"
)


def test_accounts_are_opened_empty(session: Session) -> None:
    owner = add_rider(session)
    fields = {"id": new_id(), "owner": owner, "kind": "bonus", "overdraft": False, "credits": 5, "at": NOW}
    refused(session, "ck_ledger_account_immutable", OPEN, **fields)


@pytest.mark.parametrize(("overdraft", "owned"), [(True, True), (False, False)])
def test_riders_money_belongs_to_riders_and_has_a_floor(session: Session, overdraft: bool, owned: bool) -> None:
    owner = add_rider(session) if owned else None
    fields = {"id": new_id(), "owner": owner, "kind": "bonus", "overdraft": overdraft, "credits": 0, "at": NOW}
    refused(session, "ck_ledger_account_riders_money", OPEN, **fields)


def test_one_account_per_owner_kind_and_currency(session: Session, rider: UUID, wallet: UUID) -> None:
    fields = {"id": new_id(), "owner": rider, "kind": "wallet", "overdraft": False, "credits": 0, "at": NOW}
    refused(session, "uq_ledger_account_owned", OPEN, **fields)


@pytest.mark.parametrize(
    "statement", ["UPDATE user_audit_log SET action = 'x'", "DELETE FROM user_audit_log", "TRUNCATE user_audit_log"]
)
def test_the_audit_log_is_append_only(session: Session, statement: str) -> None:
    session.execute(text("INSERT INTO user_audit_log (action, at) VALUES ('test', now())"))
    refused(session, "ck_append_only", statement)
