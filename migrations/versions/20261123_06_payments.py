"""Tables of fleet.payments."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261123_06"
down_revision: str | None = "20261123_05"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "payment_webhook",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("event_id", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.String(length=100), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(length=1000), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_webhook")),
        sa.UniqueConstraint("provider", "event_id", name=op.f("uq_payment_webhook_provider_event_id")),
    )
    op.create_table(
        "sandbox_charge",
        sa.Column("reference", sa.String(length=100), nullable=False),
        sa.Column("idempotency_key", sa.String(length=150), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("card", sa.String(length=4), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("failure_code", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settles_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("reference", name=op.f("pk_sandbox_charge")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_sandbox_charge_idempotency_key")),
    )
    op.create_table(
        "sandbox_delivery",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["reference"], ["sandbox_charge.reference"], name=op.f("fk_sandbox_delivery_reference_sandbox_charge")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sandbox_delivery")),
    )
    op.create_index(
        "ix_sandbox_delivery_due",
        "sandbox_delivery",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("delivered_at IS NULL"),
    )
    op.create_table(
        "ledger_account",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column(
            "kind",
            sa.Enum(
                "wallet",
                "bonus",
                "revenue",
                "unlock_fees",
                "buyout_revenue",
                "partner_payable",
                "tax",
                "provider_clearing",
                "refunds",
                "write_off",
                "adjustments",
                name="accountkind",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("normal_side", sa.Enum("debit", "credit", name="normalside", native_enum=False), nullable=False),
        sa.Column("overdraft_allowed", sa.Boolean(), nullable=False),
        sa.Column("debits_posted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("credits_posted", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("debits_pending", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("credits_pending", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_ledger_account_currency")),
        sa.CheckConstraint(
            "debits_posted >= 0 AND credits_posted >= 0 AND debits_pending >= 0 AND credits_pending >= 0",
            name=op.f("ck_ledger_account_totals"),
        ),
        sa.CheckConstraint(
            "overdraft_allowed OR credits_posted - debits_posted - debits_pending >= 0",
            name=op.f("ck_ledger_account_no_overdraft"),
        ),
        sa.CheckConstraint(
            "kind NOT IN ('wallet', 'bonus')"
            " OR owner_id IS NOT NULL AND normal_side = 'credit' AND NOT overdraft_allowed",
            name=op.f("ck_ledger_account_riders_money"),
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["app_user.id"], name=op.f("fk_ledger_account_owner_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_account")),
    )
    op.create_index(
        "uq_ledger_account_house",
        "ledger_account",
        ["kind", "currency"],
        unique=True,
        postgresql_where=sa.text("owner_id IS NULL"),
    )
    op.create_index(
        "uq_ledger_account_owned",
        "ledger_account",
        ["owner_id", "kind", "currency"],
        unique=True,
        postgresql_where=sa.text("owner_id IS NOT NULL"),
    )
    op.create_table(
        "payment_intent",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("provider_reference", sa.String(length=100), nullable=True),
        sa.Column(
            "state",
            sa.Enum(
                "requires_confirmation",
                "processing",
                "succeeded",
                "failed",
                "cancelled",
                "unknown",
                name="intentstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("failure_code", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ask_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_payment_intent_amount")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_payment_intent_user_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_intent")),
        sa.UniqueConstraint(
            "provider", "provider_reference", name=op.f("uq_payment_intent_provider_provider_reference")
        ),
    )
    op.create_index(
        "ix_payment_intent_unsettled",
        "payment_intent",
        ["ask_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('processing', 'unknown')"),
    )
    op.create_index(op.f("ix_payment_intent_user_id"), "payment_intent", ["user_id"], unique=False)
    op.create_table(
        "ledger_transfer",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("debit_account_id", sa.Uuid(), nullable=False),
        sa.Column("credit_account_id", sa.Uuid(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("posted_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column(
            "state",
            sa.Enum("pending", "posted", "voided", name="transferstate", native_enum=False, length=8),
            nullable=False,
        ),
        sa.Column("idempotency_key", sa.String(length=150), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=True),
        sa.Column("intent_id", sa.Uuid(), nullable=True),
        sa.Column("memo", sa.String(length=300), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'posted') = (posted_minor IS NOT NULL) AND posted_minor BETWEEN 1 AND amount_minor"
            " OR posted_minor IS NULL AND state <> 'posted'",
            name=op.f("ck_ledger_transfer_posted_minor"),
        ),
        sa.CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name=op.f("ck_ledger_transfer_settled_at")),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_ledger_transfer_amount")),
        sa.CheckConstraint("debit_account_id <> credit_account_id", name=op.f("ck_ledger_transfer_two_sides")),
        sa.ForeignKeyConstraint(
            ["credit_account_id"],
            ["ledger_account.id"],
            name=op.f("fk_ledger_transfer_credit_account_id_ledger_account"),
        ),
        sa.ForeignKeyConstraint(
            ["debit_account_id"], ["ledger_account.id"], name=op.f("fk_ledger_transfer_debit_account_id_ledger_account")
        ),
        sa.ForeignKeyConstraint(
            ["intent_id"], ["payment_intent.id"], name=op.f("fk_ledger_transfer_intent_id_payment_intent")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_transfer")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_ledger_transfer_idempotency_key")),
    )
    op.create_index(
        op.f("ix_ledger_transfer_credit_account_id_id"), "ledger_transfer", ["credit_account_id", "id"], unique=False
    )
    op.create_index(
        op.f("ix_ledger_transfer_debit_account_id_id"), "ledger_transfer", ["debit_account_id", "id"], unique=False
    )
    op.create_index(op.f("ix_ledger_transfer_intent_id"), "ledger_transfer", ["intent_id"], unique=False)
    op.create_index(op.f("ix_ledger_transfer_rental_id"), "ledger_transfer", ["rental_id"], unique=False)
    op.create_table(
        "wallet",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["ledger_account.id"], name=op.f("fk_wallet_account_id_ledger_account")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_wallet_user_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wallet")),
        sa.UniqueConstraint("account_id", name=op.f("uq_wallet_account_id")),
        sa.UniqueConstraint("user_id", "currency", name=op.f("uq_wallet_user_id_currency")),
    )


def downgrade() -> None:
    op.drop_table("wallet")
    op.drop_index(op.f("ix_ledger_transfer_rental_id"), table_name="ledger_transfer")
    op.drop_index(op.f("ix_ledger_transfer_intent_id"), table_name="ledger_transfer")
    op.drop_index(op.f("ix_ledger_transfer_debit_account_id_id"), table_name="ledger_transfer")
    op.drop_index(op.f("ix_ledger_transfer_credit_account_id_id"), table_name="ledger_transfer")
    op.drop_table("ledger_transfer")
    op.drop_index(op.f("ix_payment_intent_user_id"), table_name="payment_intent")
    op.drop_index(
        "ix_payment_intent_unsettled",
        table_name="payment_intent",
        postgresql_where=sa.text("state IN ('processing', 'unknown')"),
    )
    op.drop_table("payment_intent")
    op.drop_index(
        "uq_ledger_account_owned", table_name="ledger_account", postgresql_where=sa.text("owner_id IS NOT NULL")
    )
    op.drop_index("uq_ledger_account_house", table_name="ledger_account", postgresql_where=sa.text("owner_id IS NULL"))
    op.drop_table("ledger_account")
    op.drop_index(
        "ix_sandbox_delivery_due", table_name="sandbox_delivery", postgresql_where=sa.text("delivered_at IS NULL")
    )
    op.drop_table("sandbox_delivery")
    op.drop_table("sandbox_charge")
    op.drop_table("payment_webhook")
