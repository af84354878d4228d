"""Refunds beside the price have a credit note; refunds that were made at the provider's desk, and what they cost us."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_130"
down_revision: str | None = "20261125_121"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.drop_constraint(op.f("ck_invoice_total"), "invoice", type_="check")
    op.create_check_constraint(
        op.f("ck_invoice_total"),
        "invoice",
        "kind <> 'invoice' OR total_minor > 0 AND tax_minor BETWEEN 0 AND total_minor",
    )
    op.add_column("money_out", sa.Column("loss_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_money_out_loss_id_ledger_transfer"), "money_out", "ledger_transfer", ["loss_id"], ["id"]
    )
    op.create_unique_constraint(op.f("uq_money_out_loss_id"), "money_out", ["loss_id"])
    op.alter_column("sandbox_move", "idempotency_key", existing_type=sa.String(150), nullable=True)
    op.add_column("sandbox_move", sa.Column("charge_reference", sa.String(100), nullable=True))
    op.create_foreign_key(
        op.f("fk_sandbox_move_charge_reference_sandbox_charge"),
        "sandbox_move",
        "sandbox_charge",
        ["charge_reference"],
        ["reference"],
    )


def downgrade() -> None:
    op.drop_column("sandbox_move", "charge_reference")
    op.execute("DELETE FROM sandbox_move WHERE idempotency_key IS NULL")
    op.alter_column("sandbox_move", "idempotency_key", existing_type=sa.String(150), nullable=False)
    op.drop_column("money_out", "loss_id")
    op.drop_constraint(op.f("ck_invoice_total"), "invoice", type_="check")
    # Credits are what the rule before it knew as corrections.
    op.create_check_constraint(
        op.f("ck_invoice_total"),
        "invoice",
        "kind IN ('correction', 'credit') OR total_minor > 0 AND tax_minor BETWEEN 0 AND total_minor",
    )
