"""Refunds, withdrawals, and what the provider does for them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_71"
down_revision: str | None = "20261125_64"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def _uuid(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.Uuid(), nullable=null)


def _at(name: str, *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=null)


def _refers(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}_{to}"))


def upgrade() -> None:
    _refund()
    _withdrawal()
    _money_out()


def _refund() -> None:
    op.create_table(
        "refund",
        _uuid("id"),
        _uuid("user_id"),
        _uuid("rental_id", null=True),
        _uuid("intent_id", null=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("reason", sa.String(300), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        _uuid("requested_by"),
        _at("requested_at"),
        _uuid("decided_by", null=True),
        _at("decided_at", null=True),
        sa.Column("note", sa.String(300), nullable=True),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_refund_amount")),
        sa.CheckConstraint("num_nonnulls(rental_id, intent_id) = 1", name=op.f("ck_refund_of")),
        sa.CheckConstraint("decided_by IS NULL OR decided_by <> user_id", name=op.f("ck_refund_approver")),
        sa.CheckConstraint("(state = 'requested') = (decided_at IS NULL)", name=op.f("ck_refund_decided")),
        _refers("refund", "user_id", "app_user"),
        _refers("refund", "requested_by", "app_user"),
        _refers("refund", "decided_by", "app_user"),
        _refers("refund", "intent_id", "payment_intent"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund")),
    )
    op.create_index(op.f("ix_refund_user_id_id"), "refund", ["user_id", "id"])
    op.create_index(op.f("ix_refund_rental_id"), "refund", ["rental_id"])
    op.create_index("ix_refund_open", "refund", ["id"], postgresql_where=sa.text("state = 'requested'"))
    for name, column in (("rental", "rental_id"), ("intent", "intent_id")):
        op.create_index(
            f"uq_refund_open_{name}", "refund", [column], unique=True,
            postgresql_where=sa.text(f"state = 'requested' AND {column} IS NOT NULL"),
        )  # fmt: skip


def _withdrawal() -> None:
    op.create_table(
        "withdrawal",
        _uuid("id"),
        _uuid("user_id"),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        _uuid("method_id"),
        sa.Column("state", sa.String(16), nullable=False),
        _uuid("transfer_id"),
        _uuid("fee_transfer_id", null=True),
        _at("requested_at"),
        _uuid("decided_by", null=True),
        _at("decided_at", null=True),
        sa.Column("note", sa.String(300), nullable=True),
        sa.CheckConstraint(
            "amount_minor > 0 AND fee_minor >= 0 AND fee_minor < amount_minor", name=op.f("ck_withdrawal_amount")
        ),
        sa.CheckConstraint("decided_by IS NULL OR decided_by <> user_id", name=op.f("ck_withdrawal_approver")),
        sa.CheckConstraint("(fee_minor > 0) = (fee_transfer_id IS NOT NULL)", name=op.f("ck_withdrawal_fee")),
        _refers("withdrawal", "user_id", "app_user"),
        _refers("withdrawal", "decided_by", "app_user"),
        _refers("withdrawal", "method_id", "payment_method"),
        _refers("withdrawal", "transfer_id", "ledger_transfer"),
        _refers("withdrawal", "fee_transfer_id", "ledger_transfer"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_withdrawal")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_withdrawal_transfer_id")),
        sa.UniqueConstraint("fee_transfer_id", name=op.f("uq_withdrawal_fee_transfer_id")),
    )
    op.create_index(op.f("ix_withdrawal_user_id_id"), "withdrawal", ["user_id", "id"])
    op.create_index("ix_withdrawal_open", "withdrawal", ["id"], postgresql_where=sa.text("state = 'requested'"))


def _money_out() -> None:
    op.create_table(
        "money_out",
        _uuid("id"),
        sa.Column("kind", sa.String(16), nullable=False),
        _uuid("user_id"),
        _uuid("refund_id", null=True),
        _uuid("withdrawal_id", null=True),
        _uuid("intent_id", null=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("destination", sa.String(200), nullable=False),
        sa.Column("customer", sa.String(100), nullable=True),
        sa.Column("provider_reference", sa.String(100), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("failure_code", sa.String(64), nullable=True),
        _uuid("transfer_id"),
        _at("created_at"),
        _at("updated_at"),
        _at("ask_at"),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_money_out_amount")),
        sa.CheckConstraint("(kind = 'refund') = (intent_id IS NOT NULL)", name=op.f("ck_money_out_intent")),
        sa.CheckConstraint("(kind = 'refund') = (refund_id IS NOT NULL)", name=op.f("ck_money_out_refund")),
        sa.CheckConstraint("(kind = 'payout') = (withdrawal_id IS NOT NULL)", name=op.f("ck_money_out_withdrawal")),
        _refers("money_out", "user_id", "app_user"),
        _refers("money_out", "refund_id", "refund"),
        _refers("money_out", "withdrawal_id", "withdrawal"),
        _refers("money_out", "intent_id", "payment_intent"),
        _refers("money_out", "transfer_id", "ledger_transfer"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_money_out")),
        sa.UniqueConstraint("provider", "provider_reference", name=op.f("uq_money_out_provider_provider_reference")),
        sa.UniqueConstraint("withdrawal_id", name=op.f("uq_money_out_withdrawal_id")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_money_out_transfer_id")),
    )
    op.create_index(op.f("ix_money_out_intent_id"), "money_out", ["intent_id"])
    op.create_index(op.f("ix_money_out_refund_id"), "money_out", ["refund_id"])
    op.create_index("ix_money_out_waiting", "money_out", ["ask_at"], postgresql_where=sa.text("state = 'pending'"))


def downgrade() -> None:
    for table in ("money_out", "withdrawal", "refund"):
        op.drop_table(table)
