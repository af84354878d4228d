"""Accounts at the provider that withdrawals and payouts to partners go to."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261126_131"
down_revision: str | None = "20261126_130"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FINISHED = "(state IN ('completed', 'rejected', 'cancelled'{more})) = (finished_at IS NOT NULL)"


def upgrade() -> None:
    op.create_table(
        "payout_account",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column(
            "owner_kind", sa.Enum("rider", "partner", name="ownerkind", native_enum=False, length=16), nullable=False
        ),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("provider_reference", sa.String(length=100), nullable=False),
        sa.Column(
            "state",
            sa.Enum("pending", "enabled", "refused", name="accountstatus", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("missing", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_account")),
        sa.UniqueConstraint(
            "provider", "provider_reference", name=op.f("uq_payout_account_provider_provider_reference")
        ),
        sa.UniqueConstraint("owner_id", "provider", name=op.f("uq_payout_account_owner_id_provider")),
    )
    op.alter_column("withdrawal", "method_id", existing_type=sa.Uuid(), nullable=True)
    op.add_column("withdrawal", sa.Column("account_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_withdrawal_account_id_payout_account"), "withdrawal", "payout_account", ["account_id"], ["id"]
    )
    op.create_check_constraint(op.f("ck_withdrawal_to"), "withdrawal", "num_nonnulls(method_id, account_id) = 1")
    op.add_column("money_out", sa.Column("payout_id", sa.Uuid(), nullable=True))
    op.create_unique_constraint(op.f("uq_money_out_payout_id"), "money_out", ["payout_id"])
    op.drop_constraint(op.f("ck_money_out_withdrawal"), "money_out", type_="check")
    op.create_check_constraint(
        op.f("ck_money_out_withdrawal"),
        "money_out",
        "num_nonnulls(withdrawal_id, payout_id) = (kind = 'payout')::int",
    )
    op.add_column("payout_request", sa.Column("provider", sa.String(length=32), nullable=True))
    _finished(", 'failed'")


def _finished(more: str) -> None:
    op.drop_constraint(op.f("ck_payout_request_finished"), "payout_request", type_="check")
    op.create_check_constraint(op.f("ck_payout_request_finished"), "payout_request", _FINISHED.format(more=more))


def downgrade() -> None:
    # What went by an account cannot be told in the old tables: this fails rather than forget it.
    op.execute("UPDATE payout_request SET state = 'rejected' WHERE state = 'failed'")
    _finished("")
    op.drop_column("payout_request", "provider")
    op.drop_constraint(op.f("ck_money_out_withdrawal"), "money_out", type_="check")
    op.create_check_constraint(
        op.f("ck_money_out_withdrawal"), "money_out", "(kind = 'payout') = (withdrawal_id IS NOT NULL)"
    )
    op.drop_column("money_out", "payout_id")
    op.drop_constraint(op.f("ck_withdrawal_to"), "withdrawal", type_="check")
    op.drop_column("withdrawal", "account_id")
    op.alter_column("withdrawal", "method_id", existing_type=sa.Uuid(), nullable=False)
    op.drop_table("payout_account")
