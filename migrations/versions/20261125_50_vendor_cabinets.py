"""Vendors' cabinets: who they are, what is known of each, and what a command to one needs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261125_50"
down_revision: str | None = "20261123_09"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("station", sa.Column("hardware_id", sa.String(length=64), nullable=True))
    op.create_unique_constraint(op.f("uq_station_hardware_id"), "station", ["hardware_id"])
    op.add_column("device_session", sa.Column("held_by", sa.String(length=64), nullable=True))
    op.add_column("device_event", sa.Column("message", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("device_command", sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
    op.add_column("device_command", sa.Column("check_after", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "device_profile",
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("layout", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("commissioned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.String(length=8), nullable=True),
        sa.Column("tolerate_checksum", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("stale_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stale_reason", sa.String(length=200), nullable=True),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("connected_from", sa.String(length=64), nullable=True),
        sa.Column("firmware", sa.String(length=256), nullable=True),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_device_profile_station_id_station")),
        sa.PrimaryKeyConstraint("station_id", name=op.f("pk_device_profile")),
    )
    op.create_table(
        "device_call",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.String(length=2000), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("signed", sa.Boolean(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_device_call_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_call")),
    )
    op.create_index(op.f("ix_device_call_station_id_id"), "device_call", ["station_id", "id"], unique=False)
    op.create_index(
        op.f("ix_device_call_received_at"), "device_call", ["received_at"], unique=False, postgresql_using="brin"
    )


def downgrade() -> None:
    op.drop_table("device_call")
    op.drop_table("device_profile")
    op.drop_column("device_command", "check_after")
    op.drop_column("device_command", "not_before")
    op.drop_column("device_event", "message")
    op.drop_column("device_session", "held_by")
    op.drop_constraint(op.f("uq_station_hardware_id"), "station", type_="unique")
    op.drop_column("station", "hardware_id")
