"""Our payments held against the provider's list."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_72"
down_revision: str | None = "20261125_92"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "reconciliation_run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("compared", sa.Integer(), nullable=False),
        sa.Column("differences", sa.Integer(), nullable=False),
        sa.CheckConstraint("until > since", name=op.f("ck_reconciliation_run_window")),
        sa.CheckConstraint("differences >= 0 AND compared >= 0", name=op.f("ck_reconciliation_run_counts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation_run")),
    )
    op.create_table(
        "reconciliation_difference",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("about", sa.String(16), nullable=False),
        sa.Column("reference", sa.String(100), nullable=False),
        sa.Column("our_id", sa.Uuid(), nullable=True),
        sa.Column("ours", sa.String(64), nullable=True),
        sa.Column("theirs", sa.String(64), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("proposal", sa.String(16), nullable=False),
        sa.Column("repaired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["reconciliation_run.id"], name=op.f("fk_reconciliation_difference_run_id_reconciliation_run")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation_difference")),
    )
    op.create_index(op.f("ix_reconciliation_difference_run_id"), "reconciliation_difference", ["run_id"])


def downgrade() -> None:
    op.drop_table("reconciliation_difference")
    op.drop_table("reconciliation_run")
