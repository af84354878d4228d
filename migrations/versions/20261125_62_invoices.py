"""Invoices and their lines: append-only, and every invoice is the sum of its lines."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_62"
down_revision: str | None = "20261125_61"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("invoice", "invoice_line")

# Looked at when the transaction commits: the lines come after their invoice.
SUM = """
CREATE FUNCTION invoice_is_its_lines() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted uuid := CASE WHEN TG_TABLE_NAME = 'invoice' THEN to_jsonb(NEW)->>'id' ELSE to_jsonb(NEW)->>'invoice_id' END;
BEGIN
    IF (SELECT total_minor FROM invoice WHERE id = wanted) IS DISTINCT FROM
       (SELECT coalesce(sum(amount_minor), 0) FROM invoice_line WHERE invoice_id = wanted) THEN
        RAISE EXCEPTION 'invoice % is not the sum of its lines', wanted
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_invoice_lines';
    END IF;
    RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.create_table(
        "invoice",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=True),
        sa.Column("sequence", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "kind", sa.Enum("invoice", "correction", name="invoicekind", native_enum=False, length=16), nullable=False
        ),
        sa.Column("corrects_id", sa.Uuid(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_name", sa.String(length=32), nullable=False),
        sa.Column("tax_bp", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(kind = 'invoice') = (corrects_id IS NULL)", name=op.f("ck_invoice_corrects")),
        sa.CheckConstraint("(kind = 'invoice') = (sequence = 0)", name=op.f("ck_invoice_sequence")),
        sa.CheckConstraint(
            "kind = 'correction' OR total_minor > 0 AND tax_minor BETWEEN 0 AND total_minor",
            name=op.f("ck_invoice_total"),
        ),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_invoice_currency")),
        sa.ForeignKeyConstraint(["corrects_id"], ["invoice.id"], name=op.f("fk_invoice_corrects_id_invoice")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_invoice_user_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice")),
        sa.UniqueConstraint("number", name=op.f("uq_invoice_number")),
        sa.UniqueConstraint("rental_id", "sequence", name=op.f("uq_invoice_rental_id_sequence")),
    )
    op.create_index(op.f("ix_invoice_user_id_id"), "invoice", ["user_id", "id"])
    op.create_table(
        "invoice_line",
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("text", sa.String(length=300), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_invoice_line_invoice_id_invoice")),
        sa.PrimaryKeyConstraint("invoice_id", "position", name=op.f("pk_invoice_line")),
    )
    _triggers()


def _triggers() -> None:
    op.execute(SUM)
    for table in TABLES:
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {table}_sum AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION invoice_is_its_lines()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION append_only_guard()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_keep BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION append_only_guard()"
        )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
    op.execute("DROP FUNCTION invoice_is_its_lines()")
