"""Presence by each station's own ways, with causes, and the times in which nobody listened."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261125_21"
down_revision: str | None = "20261125_40"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("station", sa.Column("period_s", sa.Float(), nullable=True))
    op.add_column("station", sa.Column("silent_after_s", sa.Float(), nullable=True))
    op.add_column("station", sa.Column("mains", sa.Boolean(), nullable=True))
    op.add_column("station", sa.Column("offline_cause", sa.String(length=32), nullable=True))
    op.add_column("device_session", sa.Column("heard_again_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("station_status_history", sa.Column("since", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "station_status_history",
        sa.Column(
            "status",
            sa.Enum("active", "maintenance", "disabled", name="stationstatus", native_enum=False, length=16),
            nullable=True,
        ),
    )
    op.add_column("station_status_history", sa.Column("trigger", sa.String(length=16), nullable=True))
    op.add_column(
        "station_status_history", sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    )
    op.create_table(
        "backend_outage",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("until IS NULL OR until >= since", name=op.f("ck_backend_outage_times")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backend_outage")),
    )
    op.create_index(op.f("ix_backend_outage_since"), "backend_outage", ["since"], unique=False)
    op.create_index(
        "uq_backend_outage_open",
        "backend_outage",
        [sa.literal_column("(until IS NULL)")],
        unique=True,
        postgresql_where=sa.text("until IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("backend_outage")
    for name in ("evidence", "trigger", "status", "since"):
        op.drop_column("station_status_history", name)
    op.drop_column("device_session", "heard_again_at")
    for name in ("offline_cause", "mains", "silent_after_s", "period_s"):
        op.drop_column("station", name)
