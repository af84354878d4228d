"""A rider's money: what there is, and how an operator gives or takes some."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, String, Uuid, any_, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session, aliased

from fleet.common.errors import InvalidInput
from fleet.common.money import Money
from fleet.common.plans import PLANNED
from fleet.common.prepared import Prepared
from fleet.payments import ledger
from fleet.payments.models import AccountKind, LedgerAccount, LedgerTransfer, Wallet
from fleet.payments.rules import HOUSE_KINDS

#: Where a transaction remembers which wallets it locked (decision 0330).
_LOCKED: Final = "voltbay.wallets"


@dataclass(frozen=True, slots=True)
class WalletBalance:
    """Minor units. posted = held + available."""

    posted_minor: int
    held_minor: int
    available_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Purse:
    """A rider's wallet, or their points money, locked, with what was available when it was; and the house's accounts of
    its currency.
    """

    account_id: UUID
    available_minor: int
    currency: str
    #: Ids by kind, as the database's JSON has them.
    house: Mapping[str, str]

    def of_house(self, kind: AccountKind) -> UUID:
        """The house's account of that kind."""
        return UUID(self.house[kind])


def wallet_of(session: Session, user_id: UUID, currency: str, now: datetime) -> Wallet:
    """The rider's wallet in `currency`, opened at first use; safe in parallel."""
    query = select(Wallet).where(Wallet.user_id == user_id, Wallet.currency == currency)
    wallet = session.scalars(query).one_or_none()
    if wallet is None:
        account = ledger.account_for(session, user_id, AccountKind.WALLET, currency, now)
        session.execute(
            insert(Wallet)
            .values(user_id=user_id, currency=currency, account_id=account.id, created_at=now)
            .on_conflict_do_nothing()
        )
        wallet = session.scalars(query).one()
    return wallet


def lock_purse(session: Session, user_id: UUID, currency: str, now: datetime) -> Purse:
    """Lock the rider's wallet in `currency` until the transaction ends; opened at first use. One statement."""
    asked = {"user_id": user_id, "currency": currency}
    row = session.execute(_PURSE, asked).one_or_none()
    found = None if row is None else purse_of(row.id, row.available, currency, row.house)
    if found is None:
        open_wallet(session, user_id, currency, now)
        row = session.execute(_PURSE, asked).one()
        found = Purse(row.id, row.available, currency, row.house)
    return found


def lock_wallets_later(session: Session, user_id: UUID) -> None:
    """Lock the rider's wallets, of whatever currency, with the session's next statement: what that finds is newer than
    the lock.
    """
    _WALLETS.later(session, user_id=user_id)


def is_locked() -> ColumnElement[bool]:
    """Of a wallet, as part of the query behind `lock_wallets_later`: it was there when they were locked. One that was
    opened since is not.
    """
    return cast(LedgerAccount.id, String) == any_(func.string_to_array(func.current_setting(_LOCKED, True), ","))


def purse_of(
    account_id: UUID | None, available_minor: int | None, currency: str, house: Mapping[str, str] | None
) -> Purse | None:
    """What a query found of a locked wallet and of `house_of`; None: `open_wallet` makes what is missing."""
    if account_id is None or available_minor is None or house is None or not house.keys() >= _HOUSE:
        return None
    return Purse(account_id, available_minor, currency, house)


def open_wallet(session: Session, user_id: UUID, currency: str, now: datetime) -> None:
    """The rider's wallet and the house's accounts of a currency that is used for the first time."""
    wallet_of(session, user_id, currency, now)
    ledger.house_accounts(session, currency, now)


def lock_points(session: Session, user_id: UUID, wallet: Purse, now: datetime) -> Purse:
    """Lock the rider's points money too, after the wallet: whoever takes both takes them in this order."""
    account = account_of(session, user_id, AccountKind.BONUS, wallet.currency, now)
    return Purse(account, ledger.lock_accounts(session, account)[account], wallet.currency, wallet.house)


def wallet_balance(session: Session, user_id: UUID, currency: str) -> WalletBalance:
    """What is in the rider's wallet, without opening one: who never had any has nothing."""
    return _looked_at(session, user_id, AccountKind.WALLET, currency)


def points_balance(session: Session, user_id: UUID, currency: str) -> WalletBalance:
    """The rider's points money; who never had any has none."""
    return _looked_at(session, user_id, AccountKind.BONUS, currency)


def _looked_at(session: Session, user_id: UUID, kind: AccountKind, currency: str) -> WalletBalance:
    query = select(LedgerAccount.id).where(
        LedgerAccount.owner_id == user_id, LedgerAccount.kind == kind, LedgerAccount.currency == currency
    )
    account = session.scalar(query)
    return WalletBalance(0, 0, 0, currency) if account is None else _balance_of(session, account)


def house_of(currency: ColumnElement[str]) -> ColumnElement[dict[str, str] | None]:
    """Ids of the house's accounts by kind, as part of another query."""
    other = aliased(LedgerAccount)
    house = select(func.jsonb_object_agg(other.kind, other.id, type_=JSONB)).where(
        other.owner_id.is_(None), other.currency == currency
    )
    return house.scalar_subquery()


def _wallets() -> Select[str]:
    theirs = (LedgerAccount.owner_id == bindparam("user_id", type_=Uuid()), LedgerAccount.kind == AccountKind.WALLET)
    query = select(LedgerAccount.id).where(*theirs).order_by(LedgerAccount.id).with_for_update(key_share=True)
    locked = query.cte("locked")
    ids = func.string_agg(cast(locked.c.id, String), ",")
    return select(func.set_config(_LOCKED, func.coalesce(ids, ""), True))


def _purse() -> Select[UUID, int, dict[str, str] | None]:
    currency = bindparam("currency", type_=String())
    return (
        select(LedgerAccount.id, ledger.available_minor().label("available"), house_of(currency).label("house"))
        .where(
            LedgerAccount.owner_id == bindparam("user_id", type_=Uuid()),
            LedgerAccount.kind == AccountKind.WALLET,
            LedgerAccount.currency == currency,
        )
        .with_for_update(of=LedgerAccount, key_share=True)
    )


#: Built once: every start asks it.
_PURSE: Final = _purse().execution_options(**PLANNED)
_WALLETS: Final = Prepared(_wallets(), planned=True)
_HOUSE: Final = frozenset(kind.value for kind in HOUSE_KINDS)


def balance(session: Session, wallet: Wallet) -> WalletBalance:
    return _balance_of(session, wallet.account_id)


def _balance_of(session: Session, account_id: UUID) -> WalletBalance:
    totals = ledger.totals(session, account_id)
    return WalletBalance(
        posted_minor=totals.balance_minor,
        held_minor=totals.debits_pending,
        available_minor=totals.available_minor,
        currency=totals.currency,
    )


def adjust(
    session: Session,
    *,
    user_id: UUID,
    money: Money,
    reason: str,
    actor_id: UUID,
    key: str,
    now: datetime,
    account: AccountKind = AccountKind.WALLET,
) -> LedgerTransfer:
    """Give (`money` positive) or take (negative); idempotent by `key`. Who may do how much is `adjustments`' business.

    Raises InvalidInput for an amount of zero or no reason, InsufficientFunds.
    """
    if money.amount_minor == 0:
        raise InvalidInput("an adjustment of nothing", field="amount_minor")
    if not reason.strip():
        raise InvalidInput("an adjustment needs a reason", field="reason")
    own = account_of(session, user_id, account, money.currency, now)
    house = ledger.house_accounts(session, money.currency, now)[AccountKind.ADJUSTMENTS]
    gives = money.amount_minor > 0
    return ledger.transfer(
        session,
        debit=house if gives else own,
        credit=own if gives else house,
        money=Money(abs(money.amount_minor), money.currency),
        kind="adjustment",
        key=f"adjust:{user_id}:{key}",
        now=now,
        memo=f"{actor_id}: {reason.strip()}"[:300],
    )


def account_of(session: Session, user_id: UUID, kind: AccountKind, currency: str, now: datetime) -> UUID:
    """The rider's wallet account, or the one of points money; opened if need be."""
    if kind is AccountKind.WALLET:
        return wallet_of(session, user_id, currency, now).account_id
    return ledger.account_for(session, user_id, kind, currency, now).id
