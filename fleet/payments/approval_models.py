"""What one operator asks for and, above a limit, another one has to agree to (decision 0151): columns and rules."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import text_enum


class AdjustmentState(StrEnum):
    #: A second operator has to agree.
    PENDING = "pending"
    APPLIED = "applied"
    REJECTED = "rejected"


class TwoPeople:
    """Mixed into a table whose rows are applied at once or wait for somebody else's word, and are decided once."""

    state: Mapped[AdjustmentState] = mapped_column(text_enum(AdjustmentState, 16))
    currency: Mapped[str] = mapped_column(String(3))
    reason: Mapped[str] = mapped_column(String(300))
    #: What one operator might do alone then, and what this came to with everything done alone in the day before.
    limit_minor: Mapped[int] = mapped_column(BigInteger)
    counted_minor: Mapped[int] = mapped_column(BigInteger)
    requested_by: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    requested_at: Mapped[datetime]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    decided_at: Mapped[datetime | None]
    note: Mapped[str | None] = mapped_column(String(300))
    transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)

    def decide(self, state: AdjustmentState, actor_id: UUID, note: str | None, now: datetime) -> None:
        """Whether that may be is for the caller to check."""
        self.state, self.decided_by, self.decided_at = state, actor_id, now
        self.note = None if note is None else note[:300]


def two_people_rules(amount: str) -> tuple[CheckConstraint, ...]:
    """For `__table_args__`; `amount` is the SQL of what counts against the limit."""
    return (
        CheckConstraint(f"counted_minor >= {amount}", name="counted"),
        CheckConstraint(
            "state <> 'applied' OR counted_minor <= limit_minor"
            " OR decided_by IS NOT NULL AND decided_by <> requested_by",
            name="four_eyes",
        ),
        CheckConstraint("(state = 'applied') = (transfer_id IS NOT NULL)", name="transfer"),
        CheckConstraint("(state = 'pending') = (decided_at IS NULL)", name="decided"),
    )
