"""Packages that a rental may be begun with, and those that are added to it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_80"
down_revision: str | None = "20261125_85"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "rental_package",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column(
            "kind", sa.Enum("prepaid", "postpaid", name="packagekind", native_enum=False, length=16), nullable=False
        ),
        sa.Column("duration", sa.Interval(), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("minimum_balance_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("price_minor > 0 AND minimum_balance_minor >= 0", name=op.f("ck_rental_package_amounts")),
        sa.CheckConstraint("duration > interval '0'", name=op.f("ck_rental_package_duration")),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_rental_package_currency")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rental_package")),
    )
    op.create_index(
        "uq_rental_package_offered", "rental_package", ["currency", "name"], unique=True,
        postgresql_where=sa.text("withdrawn_at IS NULL"),
    )  # fmt: skip
    op.add_column("rental", sa.Column("package_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f("fk_rental_package_id_rental_package"), "rental", "rental_package", ["package_id"], ["id"]
    )
    op.create_table(
        "rental_extension",
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("package_id", sa.Uuid(), nullable=False),
        sa.Column("due_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_after", sa.DateTime(timezone=True), nullable=True),
        sa.Column("bought_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("number BETWEEN 1 AND 3", name=op.f("ck_rental_extension_number")),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_rental_extension_rental_id_rental")),
        sa.ForeignKeyConstraint(
            ["package_id"], ["rental_package.id"], name=op.f("fk_rental_extension_package_id_rental_package")
        ),
        sa.PrimaryKeyConstraint("rental_id", "number", name=op.f("pk_rental_extension")),
    )
    op.execute(
        "CREATE TRIGGER rental_extension_append_only BEFORE UPDATE OR DELETE ON rental_extension"
        " FOR EACH ROW EXECUTE FUNCTION append_only_guard()"
    )


def downgrade() -> None:
    op.drop_table("rental_extension")
    op.drop_constraint(op.f("fk_rental_package_id_rental_package"), "rental", type_="foreignkey")
    op.drop_column("rental", "package_id")
    op.drop_table("rental_package")
