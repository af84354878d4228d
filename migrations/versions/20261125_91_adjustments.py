"""Adjustments that a second operator agrees to, and the reports of the ledger's proofs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261125_91"
down_revision: str | None = "20261125_90"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# What was asked for stays as it was asked for, and what was decided stays decided.
GUARD = """
CREATE FUNCTION wallet_adjustment_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    decision text[] := ARRAY['state', 'decided_by', 'decided_at', 'note', 'transfer_id'];
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state = 'pending' AND to_jsonb(NEW) - decision = to_jsonb(OLD) - decision THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'an adjustment is decided once and never changed'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_wallet_adjustment_immutable';
END $$;
CREATE TRIGGER wallet_adjustment_guard BEFORE UPDATE OR DELETE ON wallet_adjustment
    FOR EACH ROW EXECUTE FUNCTION wallet_adjustment_guard();
CREATE TRIGGER wallet_adjustment_keep BEFORE TRUNCATE ON wallet_adjustment
    FOR EACH STATEMENT EXECUTE FUNCTION append_only_guard();
CREATE TRIGGER ledger_proof_run_append_only BEFORE UPDATE OR DELETE ON ledger_proof_run
    FOR EACH ROW EXECUTE FUNCTION append_only_guard();
CREATE TRIGGER ledger_proof_run_keep BEFORE TRUNCATE ON ledger_proof_run
    FOR EACH STATEMENT EXECUTE FUNCTION append_only_guard();
"""


def upgrade() -> None:
    op.create_table(
        "wallet_adjustment",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("limit_minor", sa.BigInteger(), nullable=False),
        sa.Column("counted_minor", sa.BigInteger(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.String(length=300), nullable=True),
        sa.Column("transfer_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("amount_minor <> 0", name=op.f("ck_wallet_adjustment_amount")),
        sa.CheckConstraint("counted_minor >= abs(amount_minor)", name=op.f("ck_wallet_adjustment_counted")),
        sa.CheckConstraint(
            "state <> 'applied' OR counted_minor <= limit_minor"
            " OR decided_by IS NOT NULL AND decided_by <> requested_by",
            name=op.f("ck_wallet_adjustment_four_eyes"),
        ),
        sa.CheckConstraint(
            "(state = 'applied') = (transfer_id IS NOT NULL)", name=op.f("ck_wallet_adjustment_transfer")
        ),
        sa.CheckConstraint("(state = 'pending') = (decided_at IS NULL)", name=op.f("ck_wallet_adjustment_decided")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["ledger_account.id"], name=op.f("fk_wallet_adjustment_account_id_ledger_account")
        ),
        sa.ForeignKeyConstraint(["decided_by"], ["app_user.id"], name=op.f("fk_wallet_adjustment_decided_by_app_user")),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["app_user.id"], name=op.f("fk_wallet_adjustment_requested_by_app_user")
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfer.id"], name=op.f("fk_wallet_adjustment_transfer_id_ledger_transfer")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_wallet_adjustment_user_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallet_adjustment")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_wallet_adjustment_transfer_id")),
    )
    op.create_index(op.f("ix_wallet_adjustment_user_id"), "wallet_adjustment", ["user_id"])
    op.create_index(
        op.f("ix_wallet_adjustment_account_id_requested_at"), "wallet_adjustment", ["account_id", "requested_at"]
    )
    op.create_index(
        "ix_wallet_adjustment_pending", "wallet_adjustment", ["id"], postgresql_where=sa.text("state = 'pending'")
    )
    op.create_table(
        "ledger_proof_run",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("accounts", sa.BigInteger(), nullable=False),
        sa.Column("transfers", sa.BigInteger(), nullable=False),
        sa.Column("problems", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.CheckConstraint("ok = (jsonb_array_length(problems) = 0)", name=op.f("ck_ledger_proof_run_ok")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_proof_run")),
    )
    op.create_index(op.f("ix_ledger_proof_run_at"), "ledger_proof_run", ["at"])
    op.execute(GUARD)


def downgrade() -> None:
    op.drop_table("ledger_proof_run")
    op.drop_table("wallet_adjustment")
    op.execute("DROP FUNCTION wallet_adjustment_guard()")
