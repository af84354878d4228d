"""A rental's money: held at the start, captured or released at its end, given back when that was wrong."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from fleet.common.errors import NotFound
from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.payments import ledger
from fleet.payments.errors import RefundTooLarge, TransferKeyReused
from fleet.payments.events import RentalRefunded
from fleet.payments.models import AccountKind, LedgerAccount, LedgerTransfer, TransferState
from fleet.payments.rules import spread
from fleet.payments.wallets import Purse, account_of, wallet_of

HOLD = "rental_hold"
CHARGE = "rental_charge"
REFUND = "rental_refund"
#: The account a hold is made out to: usage, which is most of what a rental costs.
HELD_FOR = AccountKind.REVENUE


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """Minor units of the rental's currency; charged + due = what the rental costs."""

    charged_minor: int
    due_minor: int


def hold_from(
    session: Session, purse: Purse, rental_id: UUID, money: Money, now: datetime, *, key: str | None = None
) -> LedgerTransfer:
    """Set money aside in a purse that this transaction has locked and taken nothing from since; once per rental and
    `key`. Raises InsufficientFunds.
    """
    locked = {purse.account_id: purse.available_minor}
    return ledger.hold(session, **_hold(purse, rental_id, money, now, key), locked=locked)


def hold_for_new(
    session: Session, purse: Purse, rental_id: UUID, money: Money, now: datetime, *, key: str | None = None
) -> UUID:
    """The same for a rental that this transaction makes, whose id nobody else has; the id of the hold."""
    held = _hold(purse, rental_id, money, now, key)
    return ledger.hold_first(session, **held, available_minor=purse.available_minor)


def _hold(purse: Purse, rental_id: UUID, money: Money, now: datetime, key: str | None) -> dict[str, Any]:
    return {
        "debit": purse.account_id,
        "credit": purse.of_house(HELD_FOR),
        "money": money,
        "kind": HOLD,
        "key": f"rental:{rental_id}:hold" if key is None else f"rental:{rental_id}:hold:{key}",
        "now": now,
        "rental_id": rental_id,
    }


def release_holds(session: Session, rental_id: UUID, now: datetime) -> None:
    """Give back all that is held for the rental. The caller has locked the rider's accounts."""
    for held in _pending_holds(session, rental_id):
        ledger.settle(session, held.id, None, now)


def capture_for_rental(
    session: Session,
    *,
    hold_id: UUID | None,
    rental_id: UUID,
    user_id: UUID,
    parts: list[tuple[AccountKind, Money]],
    now: datetime,
    points_max_minor: int | None = 0,
) -> CaptureResult:
    """Charge a rental once: from what was held, then from what else there is; the remainder is due.

    Points money pays first, at most `points_max_minor` of it (None: all there is), then the wallet. `parts` (one
    currency, each kind once, e.g. unlock fee and usage) are served in their order when money is short. All holds are
    settled in any case: posted for the revenue part, or voided; one that was released before is no obstacle.
    A rental that was charged before gets the first answer again; one that got all of it back is charged anew.
    Raises TransferKeyReused when what is still paid is larger.
    """
    total = sum(money.amount_minor for _, money in parts)
    wallet = _wallet_account(session, user_id, hold_id, parts, now)
    available = ledger.lock_accounts(session, wallet)[wallet]
    before = charged_for(session, rental_id)
    charged = before - refunded_for(session, rental_id)
    if charged > total:
        raise TransferKeyReused(f"rental {rental_id} was charged {charged} before, now {total}", key=str(rental_id))
    if charged == 0:
        anew = f":after:{before}" if before else ""
        held = _pending_holds(session, rental_id)
        by_wallet = [each for each in held if each.debit_account_id == wallet]
        by_points = [each for each in held if each.debit_account_id != wallet]
        if points_max_minor != 0 and parts:
            points = _points(session, user_id, parts, by_points, most=points_max_minor, now=now)
            charged += _charge(session, rental_id, points, by_points, now, anew=anew)
            parts = _less(parts, points.shares)
        else:
            _settle_holds(session, by_points, {}, now)
        payer = _Payer(wallet, _shares(parts, available, by_wallet), "charge")
        charged += _charge(session, rental_id, payer, by_wallet, now, anew=anew)
    return CaptureResult(charged_minor=charged, due_minor=total - charged)


@dataclass(frozen=True, slots=True)
class _Payer:
    """An account, and what it pays of each part. `key` tells its transfers from another payer's."""

    account_id: UUID
    shares: dict[AccountKind, Money]
    key: str


def _wallet_account(
    session: Session, user_id: UUID, hold_id: UUID | None, parts: list[tuple[AccountKind, Money]], now: datetime
) -> UUID:
    currencies = {money.currency for _, money in parts}
    if len(currencies) > 1 or len({kind for kind, _ in parts}) < len(parts):
        raise ValueError("a rental's parts are of one currency and one per kind")
    if currencies:
        return wallet_of(session, user_id, currencies.pop(), now).account_id
    if hold_id is None:
        raise ValueError("neither a hold nor a part to charge")
    return session.get_one(LedgerTransfer, hold_id).debit_account_id


def _points(
    session: Session,
    user_id: UUID,
    parts: list[tuple[AccountKind, Money]],
    held: list[LedgerTransfer],
    *,
    most: int | None,
    now: datetime,
) -> _Payer:
    """What the rider's points pay; the wallet is locked, the points are from here on."""
    account = account_of(session, user_id, AccountKind.BONUS, parts[0][1].currency, now)
    funds = ledger.lock_accounts(session, account)[account] + sum(each.amount_minor for each in held)
    shares = spread([(kind, money.amount_minor) for kind, money in parts], funds if most is None else min(funds, most))
    return _Payer(account, {kind: Money(minor, parts[0][1].currency) for kind, minor in shares}, "points")


def _less(parts: list[tuple[AccountKind, Money]], shares: dict[AccountKind, Money]) -> list[tuple[AccountKind, Money]]:
    """What is left of the parts once `shares` are paid."""
    left = [(kind, money - shares[kind] if kind in shares else money) for kind, money in parts]
    return [(kind, money) for kind, money in left if money.amount_minor]


def _charge(
    session: Session, rental_id: UUID, payer: _Payer, held: list[LedgerTransfer], now: datetime, *, anew: str
) -> int:
    """Move the payer's shares, out of its holds as far as they go; returns how much that is.

    `anew` tells the transfers from those of a charge that came back.
    """
    from_hold = _settle_holds(session, held, payer.shares, now)
    _charge_rest(session, rental_id, payer, from_hold=from_hold, now=now, anew=anew)
    return sum(share.amount_minor for share in payer.shares.values())


def _pending_holds(session: Session, rental_id: UUID) -> list[LedgerTransfer]:
    """Oldest first: those of the start, then those of extensions."""
    query = (
        select(LedgerTransfer)
        .where(
            LedgerTransfer.rental_id == rental_id,
            LedgerTransfer.kind == HOLD,
            LedgerTransfer.state == TransferState.PENDING,
        )
        .order_by(LedgerTransfer.id)
    )
    return list(session.scalars(query.execution_options(populate_existing=True)))


def held_by(session: Session, rental_id: UUID, kind: AccountKind) -> int:
    """Minor units that are held for the rental on the rider's account of this kind."""
    query = (
        select(func.coalesce(func.sum(LedgerTransfer.amount_minor), 0))
        .join(LedgerAccount, LedgerAccount.id == LedgerTransfer.debit_account_id)
        .where(
            LedgerTransfer.rental_id == rental_id,
            LedgerTransfer.kind == HOLD,
            LedgerTransfer.state == TransferState.PENDING,
            LedgerAccount.kind == kind,
        )
    )
    return int(session.scalar(query) or 0)


def paid_by(session: Session, rental_id: UUID) -> dict[AccountKind, int]:
    """Minor units that the rider's wallet and points paid for the rental and have not got back."""
    kept: dict[AccountKind, int] = {}
    for side, kinds, sign in (
        (LedgerTransfer.debit_account_id, (HOLD, CHARGE), 1),
        (LedgerTransfer.credit_account_id, (REFUND,), -1),
    ):
        query = (
            select(LedgerAccount.kind, func.sum(LedgerTransfer.posted_minor))
            .join(LedgerAccount, LedgerAccount.id == side)
            .where(
                LedgerTransfer.rental_id == rental_id,
                LedgerTransfer.kind.in_(kinds),
                LedgerTransfer.state == TransferState.POSTED,
            )
            .group_by(LedgerAccount.kind)
        )
        for kind, minor in session.execute(query):
            kept[kind] = kept.get(kind, 0) + sign * int(minor or 0)
    return {kind: minor for kind, minor in kept.items() if minor}


def _shares(
    parts: list[tuple[AccountKind, Money]], available_minor: int, held: list[LedgerTransfer]
) -> dict[AccountKind, Money]:
    """What each part gets of what the wallet has and the holds set aside."""
    funds = available_minor + sum(each.amount_minor for each in held)
    shares = spread([(kind, money.amount_minor) for kind, money in parts], funds)
    return {kind: Money(minor, parts[0][1].currency) for kind, minor in shares}


def _settle_holds(session: Session, held: list[LedgerTransfer], shares: dict[AccountKind, Money], now: datetime) -> int:
    """Post the holds for the share of the account they were made out to, or void them; returns what was posted."""
    share = shares.get(HELD_FOR)
    left = wanted = share.amount_minor if share else 0
    for each in held:
        posted = min(left, each.amount_minor)
        ledger.settle(session, each.id, posted or None, now)
        left -= posted
    return wanted - left


def _charge_rest(session: Session, rental_id: UUID, payer: _Payer, *, from_hold: int, now: datetime, anew: str) -> None:
    """Move what the holds did not; the account is locked, so nobody takes the money in between."""
    for kind, share in payer.shares.items():
        rest = share.amount_minor - (from_hold if kind is HELD_FOR else 0)
        if rest > 0:
            ledger.transfer(
                session,
                debit=payer.account_id,
                credit=ledger.house_accounts(session, share.currency, now)[kind],
                money=Money(rest, share.currency),
                kind=CHARGE,
                key=f"rental:{rental_id}:{payer.key}:{kind}{anew}",
                now=now,
                rental_id=rental_id,
            )


def charged_for(session: Session, rental_id: UUID) -> int:
    """Minor units that left the rider's wallet for this rental; refunds are not subtracted."""
    return _sum_of(session, rental_id, (HOLD, CHARGE))


def refunded_for(session: Session, rental_id: UUID) -> int:
    """Minor units given back for this rental."""
    return _sum_of(session, rental_id, (REFUND,))


def _sum_of(session: Session, rental_id: UUID, kinds: tuple[str, ...]) -> int:
    query = select(func.coalesce(func.sum(LedgerTransfer.posted_minor), 0)).where(
        LedgerTransfer.rental_id == rental_id,
        LedgerTransfer.kind.in_(kinds),
        LedgerTransfer.state == TransferState.POSTED,
    )
    return int(session.scalar(query) or 0)


def refund_rental(
    session: Session, *, rental_id: UUID, money: Money, reason: str, key: str, now: datetime
) -> LedgerTransfer:
    """Give back, to the accounts that paid, at most what the rental was charged; idempotent by `key`.

    Money first, then points: points that paid come back as points, never as cash. Returns the first transfer. Raises
    NotFound when the rental was never charged, RefundTooLarge.
    """
    payers = _payers(session, rental_id, money.currency)
    if not payers:
        raise NotFound("nothing was charged for this rental in this currency", rental_id=rental_id)
    ledger.lock_accounts(session, *payers)  # two refunds at once must see each other
    key = f"rental:{rental_id}:refund:{key}"
    first = ledger.by_key(session, key)
    if first is not None:
        return _same_refund(session, first, key, money)
    left = _left_by_payer(session, rental_id, payers)
    if money.amount_minor > sum(left.values()):
        left_minor = sum(left.values())
        raise RefundTooLarge(
            f"{money} is more than the {Money(left_minor, money.currency)} that may be refunded", left_minor=left_minor
        )
    moved = _give_back(session, rental_id, left, money, reason=reason, key=key, now=now)
    publish(session, RentalRefunded(rental_id, money.amount_minor), now)
    return moved[0]


def _same_refund(session: Session, first: LedgerTransfer, key: str, money: Money) -> LedgerTransfer:
    """The refund under the key, when it was for as much. Raises TransferKeyReused."""
    second = ledger.by_key(session, f"{key}:more")
    total = first.amount_minor + (0 if second is None else second.amount_minor)
    if (total, first.currency) != (money.amount_minor, money.currency):
        raise TransferKeyReused(f"refund key {key!r} was used for another refund", key=key)
    return first


def _payers(session: Session, rental_id: UUID, currency: str) -> list[UUID]:
    """The accounts that paid for the rental: the wallet before the points."""
    query = (
        select(LedgerAccount.id)
        .join(LedgerTransfer, LedgerTransfer.debit_account_id == LedgerAccount.id)
        .where(
            LedgerTransfer.rental_id == rental_id,
            LedgerTransfer.kind.in_((HOLD, CHARGE)),
            LedgerTransfer.state == TransferState.POSTED,
            LedgerAccount.currency == currency,
        )
        .group_by(LedgerAccount.id)
        .order_by(LedgerAccount.kind == AccountKind.BONUS, LedgerAccount.id)
    )
    return list(session.scalars(query))


def _left_by_payer(session: Session, rental_id: UUID, payers: list[UUID]) -> dict[UUID, int]:
    """Minor units that each account paid and has not got back."""
    paid = _sums(session, LedgerTransfer.debit_account_id, rental_id, (HOLD, CHARGE))
    back = _sums(session, LedgerTransfer.credit_account_id, rental_id, (REFUND,))
    return {payer: paid.get(payer, 0) - back.get(payer, 0) for payer in payers}


def _sums(
    session: Session, side: InstrumentedAttribute[UUID], rental_id: UUID, kinds: tuple[str, ...]
) -> dict[UUID, int]:
    query = (
        select(side, func.sum(LedgerTransfer.posted_minor))
        .where(
            LedgerTransfer.rental_id == rental_id,
            LedgerTransfer.kind.in_(kinds),
            LedgerTransfer.state == TransferState.POSTED,
        )
        .group_by(side)
    )
    return {account: int(total) for account, total in session.execute(query) if total}


def _give_back(
    session: Session,
    rental_id: UUID,
    left: dict[UUID, int],
    money: Money,
    *,
    reason: str,
    key: str,
    now: datetime,
) -> list[LedgerTransfer]:
    house = ledger.house_accounts(session, money.currency, now)[AccountKind.REFUNDS]
    moved: list[LedgerTransfer] = []
    rest = money.amount_minor
    for payer, most in left.items():
        part = min(rest, most)
        if part <= 0:
            continue
        moved.append(
            ledger.transfer(
                session, debit=house, credit=payer, money=Money(part, money.currency), kind=REFUND,
                key=f"{key}:more" if moved else key, now=now, rental_id=rental_id, memo=reason[:300],
            )
        )  # fmt: skip
        rest -= part
    return moved
