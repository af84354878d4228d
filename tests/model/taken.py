"""What left wallets at their riders' wish, against what the card company says that it paid out."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from fleet.payments.outgoing.models import MoneyOut, Withdrawal, WithdrawalState
from fleet.payments.providers.base import MoveStatus, ObjectKind
from fleet.payments.providers.sandbox.models import SandboxMove
from tests.model.deals import FLAT, SHARE, Wish
from tests.model.town import COUNTRY, Town

DAY_MOST: Final = 1500
MONTH_MOST: Final = 5000
OFFERED: Final[dict[str, JsonValue]] = {
    "min_minor": 2 * SHARE, "day_minor": DAY_MOST, "month_minor": MONTH_MOST, "fee_bp": 10_000 // SHARE,
    "fee_minor": FLAT, "countries": [COUNTRY],
}  # fmt: skip
_S = WithdrawalState
#: What people decided, and what may have become of it.
_MAY_BE: Final = {
    None: {_S.REQUESTED},
    "cancelled": {_S.CANCELLED},
    "rejected": {_S.REJECTED},
    "approved": {_S.APPROVED, _S.COMPLETED, _S.FAILED},
}


def wanted(engine: Engine, town: Town) -> list[Wish]:
    """Those that count for the next one: not turned down, and not paid in vain."""
    with Session(engine) as session:
        query = select(Withdrawal.id).where(Withdrawal.id.in_(town.wishes), Withdrawal.state == WithdrawalState.FAILED)
        failed = set(session.scalars(query))
    return [
        wish for id_, wish in town.wishes.items() if id_ not in failed and wish.decided not in {"cancelled", "rejected"}
    ]


class Taken:
    def __init__(self, session: Session, town: Town) -> None:
        self._session = session
        self._town = town
        query = select(Withdrawal).where(Withdrawal.user_id.in_(town.riders))
        self._rows: Sequence[Withdrawal] = session.scalars(query).all()

    def check(self) -> None:
        """After every step."""
        assert {row.id for row in self._rows} == set(self._town.wishes), "a withdrawal that nobody asked for"
        for row in self._rows:
            wish = self._town.wishes[row.id]
            assert row.state in _MAY_BE[wish.decided], f"{wish} is {row.state}"
            assert (row.amount_minor, row.fee_minor) == (wish.minor, wish.fee)

    def fees(self, rider: UUID) -> int:
        """In the end: of what arrived, and of nothing else."""
        paid = self._paid_out()
        for row in self._rows:
            assert (row.state is WithdrawalState.COMPLETED) == (row.id in paid), f"{row.id} is {row.state}"
            assert row.id not in paid or paid[row.id] == row.amount_minor - row.fee_minor
        return sum(self._town.wishes[row.id].fee for row in self._rows if row.user_id == rider and row.id in paid)

    def aside(self, rider: UUID) -> int:
        """Asked for, and not decided, or on its way."""
        waits = {WithdrawalState.REQUESTED, WithdrawalState.APPROVED}
        return sum(row.amount_minor for row in self._rows if row.user_id == rider and row.state in waits)

    def _paid_out(self) -> dict[UUID | None, int]:
        """By the card company's own books."""
        keys = {
            str(out.id): out.withdrawal_id
            for out in self._session.scalars(
                select(MoneyOut).where(MoneyOut.withdrawal_id.in_([row.id for row in self._rows]))
            )
        }
        query = select(SandboxMove).where(SandboxMove.kind == ObjectKind.PAYOUT, SandboxMove.idempotency_key.in_(keys))
        paid = query.where(SandboxMove.status == MoveStatus.SUCCEEDED, SandboxMove.next_status.is_(None))
        return {keys[str(move.idempotency_key)]: move.amount_minor for move in self._session.scalars(paid)}
