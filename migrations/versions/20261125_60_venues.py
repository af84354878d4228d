"""Venues, and which station is in which."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_60"
down_revision: str | None = "20261125_42"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "venue",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("address", sa.String(length=300), nullable=True),
        sa.Column("city", sa.String(length=100), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("code ~ '^[A-Za-z0-9._-]{1,64}$'", name=op.f("ck_venue_code")),
        sa.ForeignKeyConstraint(["country"], ["country.iso_code"], name=op.f("fk_venue_country_country")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_venue")),
        sa.UniqueConstraint("code", name=op.f("uq_venue_code")),
    )
    op.add_column("station", sa.Column("venue_id", sa.Integer(), nullable=True))
    op.create_index(op.f("ix_station_venue_id"), "station", ["venue_id"])
    op.create_foreign_key(op.f("fk_station_venue_id_venue"), "station", "venue", ["venue_id"], ["id"])


def downgrade() -> None:
    op.drop_constraint(op.f("fk_station_venue_id_venue"), "station", type_="foreignkey")
    op.drop_index(op.f("ix_station_venue_id"), table_name="station")
    op.drop_column("station", "venue_id")
    op.drop_table("venue")
