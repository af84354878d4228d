"""Saved cards, authorizations that are captured later, and what the sandbox keeps for them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261125_70"
down_revision: str | None = "20261125_91"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_CHECKS = {
    "captured": "captured_minor BETWEEN 1 AND amount_minor",
    "succeeded": "(state = 'succeeded') = (captured_minor IS NOT NULL)",
    "settle": "settle_minor BETWEEN 0 AND amount_minor",
    "capture_later": "capture_later = (purpose = 'rental')",
}


def upgrade() -> None:
    _methods()
    _intents()
    op.add_column("payment_webhook", sa.Column("about", sa.String(16), server_default="charge", nullable=False))
    _sandbox()


def _methods() -> None:
    op.create_table(
        "payment_method",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("token", sa.String(200), nullable=False),
        sa.Column("customer", sa.String(100), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("brand", sa.String(32), nullable=False),
        sa.Column("last4", sa.String(4), nullable=False),
        sa.Column("expires_month", sa.Integer(), nullable=True),
        sa.Column("expires_year", sa.Integer(), nullable=True),
        sa.Column("is_default", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("last4 ~ '^[0-9]{4}$'", name=op.f("ck_payment_method_last4")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_payment_method_user_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_method")),
        sa.UniqueConstraint("provider", "token", name=op.f("uq_payment_method_provider_token")),
    )
    op.create_index(op.f("ix_payment_method_user_id_id"), "payment_method", ["user_id", "id"])
    op.create_index(
        "uq_payment_method_default", "payment_method", ["user_id"], unique=True,
        postgresql_where=sa.text("is_default AND removed_at IS NULL"),
    )  # fmt: skip


def _intents() -> None:
    table = "payment_intent"
    op.add_column(table, sa.Column("capture_later", sa.Boolean(), server_default="false", nullable=False))
    op.add_column(table, sa.Column("settle_minor", sa.BigInteger(), nullable=True))
    op.add_column(table, sa.Column("captured_minor", sa.BigInteger(), nullable=True))
    op.add_column(table, sa.Column("action_url", sa.String(1000), nullable=True))
    op.add_column(table, sa.Column("method_id", sa.Uuid(), nullable=True))
    op.add_column(table, sa.Column("customer", sa.String(100), nullable=True))
    op.add_column(table, sa.Column("order", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column(table, sa.Column("rental_id", sa.Uuid(), nullable=True))
    op.add_column(table, sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE payment_intent SET captured_minor = amount_minor WHERE state = 'succeeded'")
    op.execute("UPDATE payment_intent SET ask_at = NULL WHERE state IN ('succeeded', 'failed', 'cancelled')")
    for name, condition in _CHECKS.items():
        op.create_check_constraint(op.f(f"ck_payment_intent_{name}"), table, condition)
    op.create_foreign_key(
        op.f("fk_payment_intent_method_id_payment_method"), table, "payment_method", ["method_id"], ["id"]
    )
    op.drop_index("ix_payment_intent_unsettled", table)
    op.create_index("ix_payment_intent_unsettled", table, ["ask_at"], postgresql_where=sa.text("ask_at IS NOT NULL"))
    op.create_index(
        "ix_payment_intent_expires", table, ["expires_at"], postgresql_where=sa.text("expires_at IS NOT NULL")
    )
    op.create_index(
        "uq_payment_intent_rental", table, ["rental_id"], unique=True,
        postgresql_where=sa.text("rental_id IS NOT NULL"),
    )  # fmt: skip
    op.create_index(
        "ix_payment_intent_method", table, ["method_id", "confirmed_at"],
        postgresql_where=sa.text("method_id IS NOT NULL"),
    )  # fmt: skip


def _sandbox() -> None:
    op.add_column("sandbox_charge", sa.Column("capture_later", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("sandbox_charge", sa.Column("captured_minor", sa.BigInteger(), nullable=True))
    op.add_column("sandbox_charge", sa.Column("refunded_minor", sa.BigInteger(), server_default="0", nullable=False))
    op.execute("UPDATE sandbox_charge SET captured_minor = amount_minor WHERE status = 'succeeded'")
    op.create_check_constraint(
        op.f("ck_sandbox_charge_refunded"), "sandbox_charge", "refunded_minor BETWEEN 0 AND coalesce(captured_minor, 0)"
    )
    op.create_table(
        "sandbox_move",
        sa.Column("reference", sa.String(100), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("idempotency_key", sa.String(150), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("failure_code", sa.String(64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_status", sa.String(16), nullable=True),
        sa.Column("settles_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("reference", name=op.f("pk_sandbox_move")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_sandbox_move_idempotency_key")),
    )
    op.create_table(
        "sandbox_dispute",
        sa.Column("reference", sa.String(100), nullable=False),
        sa.Column("charge_reference", sa.String(100), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["charge_reference"], ["sandbox_charge.reference"],
            name=op.f("fk_sandbox_dispute_charge_reference_sandbox_charge"),
        ),
        sa.PrimaryKeyConstraint("reference", name=op.f("pk_sandbox_dispute")),
        sa.UniqueConstraint("charge_reference", name=op.f("uq_sandbox_dispute_charge_reference")),
    )  # fmt: skip
    op.drop_constraint(op.f("fk_sandbox_delivery_reference_sandbox_charge"), "sandbox_delivery", type_="foreignkey")
    op.add_column("sandbox_delivery", sa.Column("about", sa.String(16), server_default="charge", nullable=False))


def downgrade() -> None:
    op.drop_column("sandbox_delivery", "about")
    op.execute("DELETE FROM sandbox_delivery WHERE reference NOT IN (SELECT reference FROM sandbox_charge)")
    op.create_foreign_key(
        op.f("fk_sandbox_delivery_reference_sandbox_charge"), "sandbox_delivery", "sandbox_charge", ["reference"],
        ["reference"],
    )  # fmt: skip
    op.drop_table("sandbox_dispute")
    op.drop_table("sandbox_move")
    op.drop_constraint(op.f("ck_sandbox_charge_refunded"), "sandbox_charge")
    for column in ("refunded_minor", "captured_minor", "capture_later"):
        op.drop_column("sandbox_charge", column)
    op.drop_column("payment_webhook", "about")
    for index in ("method", "expires", "unsettled"):
        op.drop_index(f"ix_payment_intent_{index}", "payment_intent")
    op.drop_index("uq_payment_intent_rental", "payment_intent")
    op.create_index(
        "ix_payment_intent_unsettled", "payment_intent", ["ask_at"],
        postgresql_where=sa.text("state IN ('processing', 'unknown')"),
    )  # fmt: skip
    for name in _CHECKS:
        op.drop_constraint(op.f(f"ck_payment_intent_{name}"), "payment_intent")
    for column in (
        "expires_at", "rental_id", "order", "customer", "method_id", "action_url", "captured_minor", "settle_minor",
        "capture_later",
    ):  # fmt: skip
        op.drop_column("payment_intent", column)
    op.drop_table("payment_method")
