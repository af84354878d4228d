"""A transfer is pending, posted or voided: a row in any other state moved nothing, and could never change."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261126_170"
down_revision: str | None = "20261126_150"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_check_constraint(
        op.f("ck_ledger_transfer_state"), "ledger_transfer", "state IN ('pending', 'posted', 'voided')"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_ledger_transfer_state"), "ledger_transfer", type_="check")
