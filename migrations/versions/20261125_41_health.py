"""Health of slots and banks: what went wrong, and since when it counts."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_41"
down_revision: str | None = "20261125_32"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

KINDS = (
    "jam", "charge", "communication", "short", "sensor", "anti_theft", "failed_eject", "not_taken", "disabled",
    "enabled", "quarantined", "flagged",
)  # fmt: skip


def upgrade() -> None:
    op.add_column("station_slot", sa.Column("health_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("power_bank", sa.Column("worn_judged_pct", sa.Integer(), nullable=True))
    op.add_column("power_bank", sa.Column("flagged_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "health_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=True),
        sa.Column("slot_number", sa.Integer(), nullable=True),
        sa.Column("power_bank_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.Enum(*KINDS, name="healthkind", native_enum=False, length=16), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.String(length=200), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["power_bank_id"], ["power_bank.id"], name="fk_health_event_power_bank_id_power_bank"),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name="fk_health_event_station_id_station"),
        sa.PrimaryKeyConstraint("id", name="pk_health_event"),
    )
    op.create_index(
        "uq_health_event_source", "health_event", ["station_id", "slot_number", "kind", "source"], unique=True
    )
    op.create_index("ix_health_event_station_id_slot_number_at", "health_event", ["station_id", "slot_number", "at"])
    op.create_index("ix_health_event_power_bank_id_at", "health_event", ["power_bank_id", "at"])


def downgrade() -> None:
    op.drop_table("health_event")
    op.drop_column("power_bank", "flagged_at")
    op.drop_column("power_bank", "worn_judged_pct")
    op.drop_column("station_slot", "health_since")
