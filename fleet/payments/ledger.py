"""Double entry: the only code that writes transfers. What must always hold is held by triggers (migrations 08, 90).

Owned accounts, riders' and partners', are locked before a transfer row is touched, in the order of their ids,
everywhere in this module.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, any_, bindparam, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session, make_transient_to_detached

from fleet.common.errors import NotFound
from fleet.common.money import Money
from fleet.common.prepared import Prepared, table_of, write, write_later
from fleet.db import new_id
from fleet.payments.errors import InsufficientFunds, TransferKeyReused, TransferSettled
from fleet.payments.models import AccountKind, LedgerAccount, LedgerTransfer, NormalSide, TransferState
from fleet.payments.rules import HOUSE_KINDS, NORMAL_SIDE, RIDERS_MONEY

#: Characters of ledger_transfer.idempotency_key.
KEY_MAX = 150


@dataclass(frozen=True, slots=True)
class Totals:
    """One account's totals in minor units of `currency`."""

    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int
    normal_side: NormalSide
    currency: str

    @property
    def balance_minor(self) -> int:
        """Positive on the account's normal side; pending transfers do not count."""
        difference = self.credits_posted - self.debits_posted
        return difference if self.normal_side is NormalSide.CREDIT else -difference

    @property
    def available_minor(self) -> int:
        """What may still be debited from a credit-normal account."""
        return self.credits_posted - self.debits_posted - self.debits_pending


def account_for(
    session: Session, owner_id: UUID | None, kind: AccountKind, currency: str, now: datetime
) -> LedgerAccount:
    """The account, opened if need be. `owner_id` None: the house's own."""
    if owner_id is None:
        return session.get_one(LedgerAccount, house_accounts(session, currency, now)[kind])
    owned = select(LedgerAccount).where(
        LedgerAccount.owner_id == owner_id, LedgerAccount.kind == kind, LedgerAccount.currency == currency
    )
    account = session.scalars(owned).one_or_none()
    if account is None:
        _open(session, [kind], owner_id, currency, now)
        account = session.scalars(owned).one()
    return account


def house_accounts(session: Session, currency: str, now: datetime) -> dict[AccountKind, UUID]:
    """Ids of the house's accounts in `currency`; all of them are opened the first time one is asked for."""
    query = select(LedgerAccount.kind, LedgerAccount.id).where(
        LedgerAccount.owner_id.is_(None), LedgerAccount.currency == currency
    )
    found = dict(session.execute(query).all())
    if not found.keys() >= set(HOUSE_KINDS):
        # All in one statement and one order: two first transactions cannot wait for each other.
        _open(session, HOUSE_KINDS, None, currency, now)
        found = dict(session.execute(query).all())
    return found


def _open(session: Session, kinds: Iterable[AccountKind], owner_id: UUID | None, currency: str, now: datetime) -> None:
    rows = [
        {
            "owner_id": owner_id,
            "kind": kind,
            "currency": currency,
            "normal_side": NORMAL_SIDE[kind],
            "overdraft_allowed": kind not in RIDERS_MONEY,
            "created_at": now,
        }
        for kind in kinds
    ]
    session.execute(insert(LedgerAccount).values(rows).on_conflict_do_nothing())


def totals(session: Session, account_id: UUID) -> Totals:
    """The account's totals; a house account's without this transaction's part, unless `apply_house_now` was called."""
    row = session.execute(
        select(
            LedgerAccount.debits_posted,
            LedgerAccount.credits_posted,
            LedgerAccount.debits_pending,
            LedgerAccount.credits_pending,
            LedgerAccount.normal_side,
            LedgerAccount.currency,
        ).where(LedgerAccount.id == account_id)
    ).one()
    return Totals(*row)


def accounts_of(session: Session, owner_id: UUID | None, currency: str | None = None) -> list[LedgerAccount]:
    """All accounts of a rider or partner, or (None) of the house, by currency and kind, as they are now."""
    owned = LedgerAccount.owner_id.is_(None) if owner_id is None else LedgerAccount.owner_id == owner_id
    query = select(LedgerAccount).where(owned).order_by(LedgerAccount.currency, LedgerAccount.kind)
    if currency is not None:
        query = query.where(LedgerAccount.currency == currency)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def totals_of(account: LedgerAccount) -> Totals:
    """As they were when it was read."""
    return Totals(
        account.debits_posted,
        account.credits_posted,
        account.debits_pending,
        account.credits_pending,
        account.normal_side,
        account.currency,
    )


def apply_house_now(session: Session) -> None:
    """Let the house's totals follow at once instead of at commit (decision 0020): for proofs, not for requests."""
    session.flush()  # constraints are about rows that are in the database
    session.execute(text("SET CONSTRAINTS ledger_transfer_apply_house IMMEDIATE"))
    session.execute(text("SET CONSTRAINTS ledger_transfer_apply_house DEFERRED"))


def available_minor() -> ColumnElement[int]:
    """Of a rider's account, whose normal side is credit."""
    return LedgerAccount.credits_posted - LedgerAccount.debits_posted - LedgerAccount.debits_pending


_OWNED: Final = Prepared(
    select(LedgerAccount.id, available_minor())
    .where(LedgerAccount.id == any_(bindparam("ids", type_=ARRAY(Uuid()))), LedgerAccount.owner_id.is_not(None))
    .order_by(LedgerAccount.id)
    .with_for_update(key_share=True),
    planned=True,
)


def lock_accounts(session: Session, *account_ids: UUID) -> dict[UUID, int]:
    """Lock the owned accounts among these until the transaction ends; available minor units by account."""
    return {row[0]: row[1] for row in _OWNED.all(session, ids=list(account_ids))}


def transfer(
    session: Session,
    *,
    debit: UUID,
    credit: UUID,
    money: Money,
    kind: str,
    key: str,
    now: datetime,
    rental_id: UUID | None = None,
    intent_id: UUID | None = None,
    memo: str | None = None,
    may_overdraw: bool = False,
) -> LedgerTransfer:
    """Move `money` for good. The same `key` with the same content returns the first transfer and moves nothing.

    `may_overdraw`: a partner's account may owe afterwards; a rider's never does, the database sees to that.
    Raises InsufficientFunds, and TransferKeyReused when the key came with other content before.
    """
    wanted = LedgerTransfer(
        debit_account_id=debit, credit_account_id=credit, amount_minor=money.amount_minor, currency=money.currency,
        posted_minor=money.amount_minor, kind=kind, state=TransferState.POSTED, idempotency_key=key,
        rental_id=rental_id, intent_id=intent_id, memo=memo, created_at=now, settled_at=now,
    )  # fmt: skip
    return _write(session, wanted, may_overdraw=may_overdraw)


def hold(
    session: Session,
    *,
    debit: UUID,
    credit: UUID,
    money: Money,
    kind: str,
    key: str,
    now: datetime,
    rental_id: UUID | None = None,
    intent_id: UUID | None = None,
    memo: str | None = None,
    locked: Mapping[UUID, int] | None = None,
) -> LedgerTransfer:
    """Set `money` aside (PENDING) until it is posted or voided; otherwise as `transfer`.

    `locked`: what `lock_accounts` told of the two accounts in this transaction, which has moved nothing since.
    """
    wanted = LedgerTransfer(
        debit_account_id=debit, credit_account_id=credit, amount_minor=money.amount_minor, currency=money.currency,
        posted_minor=None, kind=kind, state=TransferState.PENDING, idempotency_key=key, rental_id=rental_id,
        intent_id=intent_id, memo=memo, created_at=now, settled_at=None,
    )  # fmt: skip
    return _write(session, wanted, locked)


def hold_first(
    session: Session,
    *,
    debit: UUID,
    available_minor: int,
    credit: UUID,
    money: Money,
    kind: str,
    key: str,
    now: datetime,
    rental_id: UUID | None = None,
) -> UUID:
    """`hold` under a key that cannot be there yet, of a locked account; the id, the row goes with the next statement.

    Raises InsufficientFunds.
    """
    _must_move(money.amount_minor)
    if available_minor < money.amount_minor:
        raise _insufficient(money, available_minor)
    made = new_id()
    values = {
        "id": made, "debit_account_id": debit, "credit_account_id": credit, "amount_minor": money.amount_minor,
        "currency": money.currency, "kind": kind, "state": TransferState.PENDING, "idempotency_key": _bounded(key),
        "rental_id": rental_id, "created_at": now,
    }  # fmt: skip
    write_later(session, _FIRST, values)
    return made


_CONTENT = ("debit_account_id", "credit_account_id", "amount_minor", "currency", "kind", "rental_id", "intent_id")
_COLUMNS = ("id", *_CONTENT, "posted_minor", "state", "idempotency_key", "memo", "created_at", "settled_at")
_TRANSFERS: Final = table_of(LedgerTransfer)
_FIRST: Final = insert(_TRANSFERS)
_INSERT: Final = (
    insert(_TRANSFERS).on_conflict_do_nothing(index_elements=["idempotency_key"]).returning(_TRANSFERS.c.id)
)


def _write(
    session: Session,
    wanted: LedgerTransfer,
    locked: Mapping[UUID, int] | None = None,
    *,
    may_overdraw: bool = False,
) -> LedgerTransfer:
    """Insert `wanted` unless its key is there. The funds are checked under the lock, so a refusal costs no rollback."""
    _must_move(wanted.amount_minor)
    wanted.idempotency_key = _bounded(wanted.idempotency_key)
    available = locked or lock_accounts(session, wanted.debit_account_id, wanted.credit_account_id)
    short = not may_overdraw and available.get(wanted.debit_account_id, wanted.amount_minor) < wanted.amount_minor
    first = None if short else _insert(session, wanted)
    first = first or by_key(session, wanted.idempotency_key)
    if first is None:
        raise _insufficient(Money(wanted.amount_minor, wanted.currency), available[wanted.debit_account_id])
    if not _is_the_same(first, wanted):
        raise TransferKeyReused(
            f"transfer key {wanted.idempotency_key!r} was used for another transfer", key=wanted.idempotency_key
        )
    return first


def _insert(session: Session, wanted: LedgerTransfer) -> LedgerTransfer | None:
    """None when the key is there already."""
    wanted.id = new_id()
    values = {name: getattr(wanted, name) for name in _COLUMNS}
    if write(session, _INSERT, values) is None:
        return None
    make_transient_to_detached(wanted)  # it is that row, and the session need not ask for it
    session.add(wanted)
    return wanted


def _is_the_same(first: LedgerTransfer, wanted: LedgerTransfer) -> bool:
    """A hold may have been settled since; a transfer that was asked for as posted is still posted."""
    return all(getattr(first, name) == getattr(wanted, name) for name in _CONTENT) and (
        wanted.state is TransferState.PENDING or first.state is TransferState.POSTED
    )


def _must_move(amount_minor: int) -> None:
    if amount_minor <= 0:
        raise ValueError(f"a transfer of {amount_minor} minor units moves nothing")


def _insufficient(needed: Money, available_minor: int) -> InsufficientFunds:
    return InsufficientFunds(
        f"{needed} needed, {Money(available_minor, needed.currency)} available",
        needed_minor=needed.amount_minor,
        available_minor=available_minor,
        currency=needed.currency,
    )


def _bounded(key: str) -> str:
    """Keys hold what clients send; one that is too long for its column is kept as its beginning and its hash."""
    return key if len(key) <= KEY_MAX else f"{key[:80]}:{hashlib.sha256(key.encode()).hexdigest()}"


def by_key(session: Session, key: str) -> LedgerTransfer | None:
    query = select(LedgerTransfer).where(LedgerTransfer.idempotency_key == _bounded(key))
    return session.scalars(query).one_or_none()


def post(session: Session, transfer_id: UUID, amount_minor: int, now: datetime) -> LedgerTransfer:
    """Turn a hold into a transfer of `amount_minor` (at least 1, at most what was held); the rest is free again.

    Again with the same amount changes nothing. Raises TransferSettled when it was voided or posted otherwise,
    ValueError for an amount outside the hold, NotFound.
    """
    held = _locked(session, transfer_id)
    if held.state is TransferState.POSTED and held.posted_minor == amount_minor:
        return held
    _must_be_pending(held)
    if not 1 <= amount_minor <= held.amount_minor:
        raise ValueError(f"{amount_minor} of a hold of {held.amount_minor} cannot be posted")
    return settle(session, transfer_id, amount_minor, now)


def void(session: Session, transfer_id: UUID, now: datetime) -> LedgerTransfer:
    """Give a hold back whole. Again changes nothing. Raises TransferSettled when it was posted, NotFound."""
    held = _locked(session, transfer_id)
    if held.state is TransferState.VOIDED:
        return held
    _must_be_pending(held)
    return settle(session, transfer_id, None, now)


def _must_be_pending(held: LedgerTransfer) -> None:
    if held.state is not TransferState.PENDING:
        raise TransferSettled(f"transfer {held.id} is already {held.state}", transfer_id=held.id, state=held.state)


def _locked(session: Session, transfer_id: UUID) -> LedgerTransfer:
    """The transfer as it is now, its riders' accounts locked first."""
    sides = session.execute(
        select(LedgerTransfer.debit_account_id, LedgerTransfer.credit_account_id).where(
            LedgerTransfer.id == transfer_id
        )
    ).one_or_none()
    if sides is None:
        raise NotFound("no such transfer", transfer_id=transfer_id)
    lock_accounts(session, *sides)
    query = select(LedgerTransfer).where(LedgerTransfer.id == transfer_id).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one()


def settle(session: Session, transfer_id: UUID, posted_minor: int | None, now: datetime) -> LedgerTransfer:
    """Post a hold (None: void it) that the caller has seen PENDING since it locked the hold's accounts."""
    state = TransferState.VOIDED if posted_minor is None else TransferState.POSTED
    return session.scalars(
        update(LedgerTransfer)
        .where(LedgerTransfer.id == transfer_id, LedgerTransfer.state == TransferState.PENDING)
        .values(state=state, posted_minor=posted_minor, settled_at=now)
        .returning(LedgerTransfer)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one()
