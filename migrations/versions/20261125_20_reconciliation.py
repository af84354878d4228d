"""What reconciliation remembers: what was proven of a slot, what its cabinet claims, who is asked when."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_20"
down_revision: str | None = "20261125_10"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("station_slot", sa.Column("proven_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("station_slot", sa.Column("told_bank_id", sa.Integer(), nullable=True))
    op.add_column("station_slot", sa.Column("told_since", sa.DateTime(timezone=True), nullable=True))
    op.create_foreign_key(
        op.f("fk_station_slot_told_bank_id_power_bank"), "station_slot", "power_bank", ["told_bank_id"], ["id"]
    )
    op.create_index(op.f("ix_station_slot_told_bank_id"), "station_slot", ["told_bank_id"], unique=False)
    # Until the next inventory: what a slot holds is what its cabinet last told.
    op.execute(
        "UPDATE station_slot SET told_bank_id = power_bank_id, proven_at = observed_at,"
        " told_since = CASE WHEN power_bank_id IS NOT NULL THEN observed_at END"
        " WHERE power_bank_id IS NOT NULL OR state = 'empty'"
    )
    op.add_column("power_bank", sa.Column("state_set_by", sa.String(length=32), nullable=True))
    op.execute(
        "UPDATE power_bank SET state_set_by = 'operator'"
        " WHERE state IN ('maintenance', 'damaged', 'quarantined', 'lost')"
    )
    op.add_column(
        "device_command",
        sa.Column(
            "purpose",
            sa.Enum(
                "connected", "heard_again", "doubt", "periodic", name="commandpurpose", native_enum=False, length=16
            ),
            nullable=True,
        ),
    )
    op.create_table(
        "station_reconciliation",
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unanswered", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("unanswered >= 0", name=op.f("ck_station_reconciliation_unanswered")),
        sa.ForeignKeyConstraint(
            ["station_id"], ["station.id"], name=op.f("fk_station_reconciliation_station_id_station")
        ),
        sa.PrimaryKeyConstraint("station_id", name=op.f("pk_station_reconciliation")),
    )
    op.create_index(op.f("ix_station_reconciliation_due_at"), "station_reconciliation", ["due_at"], unique=False)


def downgrade() -> None:
    op.drop_table("station_reconciliation")
    op.drop_column("device_command", "purpose")
    op.drop_column("power_bank", "state_set_by")
    op.drop_index(op.f("ix_station_slot_told_bank_id"), table_name="station_slot")
    op.drop_constraint(op.f("fk_station_slot_told_bank_id_power_bank"), "station_slot", type_="foreignkey")
    op.drop_column("station_slot", "told_since")
    op.drop_column("station_slot", "told_bank_id")
    op.drop_column("station_slot", "proven_at")
