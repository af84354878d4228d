"""Riders take money out of their wallet: reserved at the request, agreed to by an operator, paid by the provider."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common.errors import Conflict, InvalidInput, NotFound
from fleet.common.money import Money
from fleet.config.service import PUBLIC, ConfigKey, get, registry
from fleet.db import new_id
from fleet.payments import ledger, methods
from fleet.payments.errors import WithdrawalLimitReached, WithdrawalNotOpen, WithdrawalsNotOffered
from fleet.payments.intent_models import PaymentMethod
from fleet.payments.models import AccountKind
from fleet.payments.outgoing import accounts, money_out, rules
from fleet.payments.outgoing.models import MoneyOut, MoneyOutState, PayoutAccount, Withdrawal, WithdrawalState
from fleet.payments.outgoing.rules import WithdrawalPolicy
from fleet.payments.providers.base import ObjectKind, PaymentProvider
from fleet.payments.wallets import wallet_of
from fleet.users.models import User

WITHDRAWAL: Final = "withdrawal"
FEE: Final = "withdrawal_fee"
#: These took nothing and count for no limit.
_TOOK_NOTHING = (WithdrawalState.REJECTED, WithdrawalState.CANCELLED, WithdrawalState.FAILED)

POLICY = registry.add(
    ConfigKey(
        "payments.withdrawals",
        dict[str, WithdrawalPolicy],
        {},
        scope=PUBLIC,
        description="Whether and how riders may withdraw from their wallet, by currency: least amount, most a day and "
        "a month of the rider's, fee, countries. Without an entry nobody may.",
    )
)


def request(
    session: Session,
    *,
    user_id: UUID,
    money: Money,
    now: datetime,
    method_id: UUID | None = None,
    provider: PaymentProvider | None = None,
) -> Withdrawal:
    """Reserve `money` (the fee is part of it) until an operator has decided. Locks the wallet. Bonus money stays.

    It goes to the saved method, or (None) to the rider's account at `provider`. Raises WithdrawalsNotOffered,
    InvalidInput, WithdrawalLimitReached, PaymentMethodNotFound, PayoutAccountNotFound, PayoutAccountNotReady,
    InsufficientFunds.
    """
    user = session.get_one(User, user_id)
    policy = get(session, POLICY).get(money.currency)
    if policy is None or user.country not in policy.countries:
        raise WithdrawalsNotOffered("withdrawals are not offered here", currency=money.currency, country=user.country)
    to = _destination(session, user_id, method_id, provider)
    fee = policy.fee(money.amount_minor)
    if money.amount_minor < policy.min_minor or fee >= money.amount_minor:
        least = Money(policy.min_minor, money.currency)
        raise InvalidInput(f"a withdrawal is at least {least} and more than its fee", field="amount_minor")
    wallet = wallet_of(session, user_id, money.currency, now).account_id
    ledger.lock_accounts(session, wallet)  # two requests at once must see each other
    _check_limits(session, user, money, policy, now)
    return _reserve(session, wallet, to=to, money=money, fee=fee, now=now)


@dataclass(frozen=True, slots=True)
class _To:
    """Who gets it, and where: one of the two."""

    user_id: UUID
    method_id: UUID | None
    account_id: UUID | None


def _destination(session: Session, user_id: UUID, method_id: UUID | None, provider: PaymentProvider | None) -> _To:
    to_account = provider is not None and provider.pays_out_to_accounts
    if method_id is not None:
        if to_account:
            raise InvalidInput("withdrawals go to your account for payouts here, not to a card", field="method_id")
        return _To(user_id, methods.method_of(session, user_id, method_id).id, None)
    if provider is None or not to_account:
        raise InvalidInput("a withdrawal goes to a saved method", field="method_id")
    return _To(user_id, None, accounts.ready(session, user_id, provider.name).id)


def _check_limits(session: Session, user: User, money: Money, policy: WithdrawalPolicy, now: datetime) -> None:
    day, month = rules.day_and_month(now, user.time_zone)
    for since, most, period in ((day, policy.day_minor, "day"), (month, policy.month_minor, "month")):
        left = most - taken_since(session, user.id, money.currency, since)
        if money.amount_minor > left:
            raise WithdrawalLimitReached(
                f"{Money(max(left, 0), money.currency)} more may be withdrawn this {period}",
                left_minor=max(left, 0),
                period=period,
                currency=money.currency,
            )


def taken_since(session: Session, user_id: UUID, currency: str, since: datetime) -> int:
    """Minor units of withdrawals that were asked for and not turned down: added up from the rows, never a counter."""
    query = select(func.coalesce(func.sum(Withdrawal.amount_minor), 0)).where(
        Withdrawal.user_id == user_id,
        Withdrawal.currency == currency,
        Withdrawal.requested_at >= since,
        Withdrawal.state.not_in(_TOOK_NOTHING),
    )
    return int(session.scalar(query) or 0)


def _reserve(session: Session, wallet: UUID, *, to: _To, money: Money, fee: int, now: datetime) -> Withdrawal:
    withdrawal_id = new_id()
    house = ledger.house_accounts(session, money.currency, now)
    paid_out = Money(money.amount_minor - fee, money.currency)
    held = ledger.hold(
        session, debit=wallet, credit=house[AccountKind.PROVIDER_CLEARING], money=paid_out, kind=WITHDRAWAL,
        key=f"withdrawal:{withdrawal_id}", now=now,
    )  # fmt: skip
    fee_held = None
    if fee:
        fee_held = ledger.hold(
            session, debit=wallet, credit=house[AccountKind.REVENUE], money=Money(fee, money.currency), kind=FEE,
            key=f"withdrawal:{withdrawal_id}:fee", now=now,
        )  # fmt: skip
    withdrawal = Withdrawal(
        id=withdrawal_id, user_id=to.user_id, amount_minor=money.amount_minor, fee_minor=fee,
        currency=money.currency, method_id=to.method_id, account_id=to.account_id, state=WithdrawalState.REQUESTED,
        transfer_id=held.id, fee_transfer_id=None if fee_held is None else fee_held.id, requested_at=now,
    )  # fmt: skip
    session.add(withdrawal)
    session.flush()  # the caller answers with it
    return withdrawal


def _open(session: Session, withdrawal_id: UUID, now: datetime, user_id: UUID | None = None) -> Withdrawal:
    """The withdrawal, undecided, with the wallet and itself locked. `user_id`: it has to be theirs."""
    withdrawal = session.get(Withdrawal, withdrawal_id)
    if withdrawal is None or (user_id is not None and withdrawal.user_id != user_id):
        raise NotFound("no such withdrawal", withdrawal_id=withdrawal_id)
    ledger.lock_accounts(session, wallet_of(session, withdrawal.user_id, withdrawal.currency, now).account_id)
    withdrawal = session.get_one(Withdrawal, withdrawal_id, with_for_update=True, populate_existing=True)
    if withdrawal.state is not WithdrawalState.REQUESTED:
        raise WithdrawalNotOpen(
            f"this withdrawal is {withdrawal.state}", withdrawal_id=withdrawal_id, state=withdrawal.state
        )
    return withdrawal


def cancel(session: Session, *, user_id: UUID, withdrawal_id: UUID, now: datetime) -> Withdrawal:
    """The rider thinks again, before it is decided. Raises NotFound, WithdrawalNotOpen."""
    withdrawal = _open(session, withdrawal_id, now, user_id)
    _release(session, withdrawal, now)
    withdrawal.state, withdrawal.decided_at = WithdrawalState.CANCELLED, now
    return withdrawal


def reject(session: Session, withdrawal_id: UUID, *, approver_id: UUID, note: str, now: datetime) -> Withdrawal:
    """The money is free again. Raises NotFound, WithdrawalNotOpen, Conflict."""
    withdrawal = _open(session, withdrawal_id, now)
    _decide(withdrawal, WithdrawalState.REJECTED, approver_id, note, now)
    _release(session, withdrawal, now)
    return withdrawal


def approve(session: Session, withdrawal_id: UUID, *, approver_id: UUID, now: datetime) -> Withdrawal:
    """The provider is asked to pay out; COMPLETED when it says so. Raises NotFound, WithdrawalNotOpen, Conflict."""
    withdrawal = _open(session, withdrawal_id, now)
    _decide(withdrawal, WithdrawalState.APPROVED, approver_id, None, now)
    provider, destination, customer = _where(session, withdrawal)
    out = MoneyOut(
        kind=ObjectKind.PAYOUT, user_id=withdrawal.user_id, withdrawal_id=withdrawal.id,
        amount_minor=withdrawal.amount_minor - withdrawal.fee_minor, currency=withdrawal.currency,
        provider=provider, destination=destination, customer=customer, state=MoneyOutState.PENDING,
        transfer_id=withdrawal.transfer_id, created_at=now, updated_at=now, ask_at=now + money_out.ASK_AFTER,
    )  # fmt: skip
    money_out.begin(session, out, now)
    return withdrawal


def _where(session: Session, withdrawal: Withdrawal) -> tuple[str, str, str | None]:
    """Provider, destination there, and its name for the rider."""
    if withdrawal.account_id is not None:
        account = session.get_one(PayoutAccount, withdrawal.account_id)
        return account.provider, account.provider_reference, None
    method = session.get_one(PaymentMethod, withdrawal.method_id)
    return method.provider, method.token, method.customer


def _decide(withdrawal: Withdrawal, state: WithdrawalState, approver_id: UUID, note: str | None, now: datetime) -> None:
    if approver_id == withdrawal.user_id:
        raise Conflict("nobody decides on a withdrawal of their own", withdrawal_id=withdrawal.id)
    withdrawal.state, withdrawal.decided_by, withdrawal.decided_at = state, approver_id, now
    withdrawal.note = None if note is None else note[:300]


def _release(session: Session, withdrawal: Withdrawal, now: datetime) -> None:
    ledger.void(session, withdrawal.transfer_id, now)
    if withdrawal.fee_transfer_id is not None:
        ledger.void(session, withdrawal.fee_transfer_id, now)
