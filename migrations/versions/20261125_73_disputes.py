"""Payments that riders dispute at their banks."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_73"
down_revision: str | None = "20261125_72"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "card_dispute",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("provider_reference", sa.String(100), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("recovery_id", sa.Uuid(), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_card_dispute_amount")),
        sa.ForeignKeyConstraint(
            ["intent_id"], ["payment_intent.id"], name=op.f("fk_card_dispute_intent_id_payment_intent")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_card_dispute_user_id_app_user")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfer.id"], name=op.f("fk_card_dispute_transfer_id_ledger_transfer")
        ),
        sa.ForeignKeyConstraint(
            ["recovery_id"], ["ledger_transfer.id"], name=op.f("fk_card_dispute_recovery_id_ledger_transfer")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_card_dispute")),
        sa.UniqueConstraint("provider", "provider_reference", name=op.f("uq_card_dispute_provider_provider_reference")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_card_dispute_transfer_id")),
        sa.UniqueConstraint("recovery_id", name=op.f("uq_card_dispute_recovery_id")),
    )
    op.create_index(op.f("ix_card_dispute_intent_id"), "card_dispute", ["intent_id"])


def downgrade() -> None:
    op.drop_table("card_dispute")
