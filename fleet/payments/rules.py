"""Kinds of accounts, life of a payment intent, how a charge is spread. Pure."""

from collections.abc import Mapping

from fleet.common.errors import IllegalTransition
from fleet.payments.errors import ChargeMismatch
from fleet.payments.intent_models import IntentState
from fleet.payments.models import AccountKind, NormalSide
from fleet.payments.providers.base import ChargeStatus

#: Which side makes an account grow: what the house owes and earns is credit, what it has and gives away is debit.
NORMAL_SIDE: dict[AccountKind, NormalSide] = {
    AccountKind.WALLET: NormalSide.CREDIT,
    AccountKind.BONUS: NormalSide.CREDIT,
    AccountKind.REVENUE: NormalSide.CREDIT,
    AccountKind.UNLOCK_FEES: NormalSide.CREDIT,
    AccountKind.BUYOUT_REVENUE: NormalSide.CREDIT,
    AccountKind.PARTNER_PAYABLE: NormalSide.CREDIT,
    AccountKind.TAX: NormalSide.CREDIT,
    AccountKind.PROVIDER_CLEARING: NormalSide.DEBIT,
    AccountKind.REFUNDS: NormalSide.DEBIT,
    AccountKind.WRITE_OFF: NormalSide.DEBIT,
    AccountKind.ADJUSTMENTS: NormalSide.DEBIT,
    AccountKind.SUBSCRIPTIONS: NormalSide.CREDIT,
    AccountKind.PARTNER_SHARES: NormalSide.DEBIT,
    AccountKind.PAYOUTS: NormalSide.CREDIT,
    AccountKind.RECEIVABLE: NormalSide.DEBIT,
}
#: Kinds that belong to a rider and never go below zero.
RIDERS_MONEY = (AccountKind.WALLET, AccountKind.BONUS)
#: Kinds that belong to somebody: their totals move at once, and each has a statement.
OWNED_KINDS = (*RIDERS_MONEY, AccountKind.PARTNER_PAYABLE)
#: Kinds of which the house has one account per currency, in the order in which they are opened.
HOUSE_KINDS = tuple(kind for kind in AccountKind if kind not in OWNED_KINDS)

_S = IntentState
_RESULTS = frozenset({_S.AUTHORIZED, _S.SUCCEEDED, _S.FAILED, _S.CANCELLED})
#: FAILED, CANCELLED and UNKNOWN may still turn out to have SUCCEEDED: the provider has the last word about its money.
INTENT_MOVES: dict[IntentState, frozenset[IntentState]] = {
    _S.REQUIRES_CONFIRMATION: _RESULTS | {_S.PROCESSING, _S.REQUIRES_ACTION},
    _S.PROCESSING: _RESULTS | {_S.UNKNOWN, _S.REQUIRES_ACTION},
    _S.REQUIRES_ACTION: _RESULTS,
    _S.UNKNOWN: _RESULTS | {_S.REQUIRES_ACTION},
    _S.AUTHORIZED: frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED}),
    _S.FAILED: frozenset({_S.SUCCEEDED, _S.AUTHORIZED}),
    _S.CANCELLED: frozenset({_S.SUCCEEDED, _S.AUTHORIZED}),
    _S.SUCCEEDED: frozenset(),
}
#: The provider is being asked about these.
IN_FLIGHT = (_S.PROCESSING, _S.UNKNOWN, _S.REQUIRES_ACTION)

#: What a charge may be on its way; a look at it that was taken earlier may arrive later.
_PROGRESS = (ChargeStatus.PENDING, ChargeStatus.REQUIRES_ACTION, ChargeStatus.AUTHORIZED)
_REACHED = {_S.REQUIRES_ACTION: 1, _S.AUTHORIZED: 2, _S.SUCCEEDED: 3}


def is_old_news(state: IntentState, status: ChargeStatus) -> bool:
    """Whether `status` says nothing that the intent has not been through."""
    if status is ChargeStatus.PENDING or state.value == status.value:
        return True
    if status not in _PROGRESS:
        return False
    over = state in {_S.FAILED, _S.CANCELLED} and status is not ChargeStatus.AUTHORIZED
    return over or _PROGRESS.index(status) < _REACHED.get(state, 0)


def check_move(current: IntentState, wanted: IntentState) -> None:
    """Raises IllegalTransition for a move that INTENT_MOVES does not hold."""
    if wanted not in INTENT_MOVES[current]:
        raise IllegalTransition("payment intent", current, wanted)


def spread(parts: list[tuple[AccountKind, int]], funds_minor: int) -> list[tuple[AccountKind, int]]:
    """What each part gets of `funds_minor`, first come first served; parts that get nothing are left out."""
    shares = []
    for kind, wanted in parts:
        share = min(wanted, funds_minor)
        funds_minor -= share
        if share > 0:
            shares.append((kind, share))
    return shares


def must_agree(pairs: Mapping[str, tuple[object, object]], whose: str = "ours") -> None:
    """What we have and what the provider tells, by field. Raises ChargeMismatch for the first that differs."""
    for field, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise ChargeMismatch(f"the provider's {field} is {theirs}, {whose} {ours}", field=field)
