"""Positions that riders share while they rent."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_88"
down_revision: str | None = "20261125_87"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "rental_location_sharing",
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_rental_location_sharing_rental_id_rental")),
        sa.PrimaryKeyConstraint("rental_id", name=op.f("pk_rental_location_sharing")),
    )
    op.create_table(
        "rental_location",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("latitude", sa.Float(53), nullable=False),
        sa.Column("longitude", sa.Float(53), nullable=False),
        sa.Column("accuracy_m", sa.Float(53), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180", name=op.f("ck_rental_location_position")
        ),
        sa.CheckConstraint("accuracy_m >= 0", name=op.f("ck_rental_location_accuracy")),
        sa.ForeignKeyConstraint(
            ["rental_id"], ["rental_location_sharing.rental_id"], ondelete="CASCADE",
            name=op.f("fk_rental_location_rental_id_rental_location_sharing"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rental_location")),
        sa.UniqueConstraint("rental_id", "at", name=op.f("uq_rental_location_rental_id_at")),
    )  # fmt: skip
    op.create_index(op.f("ix_rental_location_at"), "rental_location", ["at"])


def downgrade() -> None:
    op.drop_table("rental_location")
    op.drop_table("rental_location_sharing")
