"""Power banks that are exchanged during a rental."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_79"
down_revision: str | None = "20261125_84"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("rental", sa.Column("swap_id", sa.Uuid(), nullable=True))
    op.add_column("rental", sa.Column("swapped_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("rental", sa.Column("swaps", sa.SmallInteger(), server_default="0", nullable=False))
    op.create_check_constraint(
        op.f("ck_rental_swap"), "rental", "swapped_at IS NULL OR swap_id IS NOT NULL AND started_at IS NOT NULL"
    )
    states = sa.Enum("waiting", "ejecting", "done", "expired", "failed", name="swapstate", native_enum=False, length=16)
    reasons = sa.Enum("low_battery", "defect", "wrong_cable", name="swapreason", native_enum=False, length=16)
    op.create_table(
        "rental_swap",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("state", states, nullable=False),
        sa.Column("reason", reasons, nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("old_bank_id", sa.Integer(), nullable=False),
        sa.Column("old_station_id", sa.Integer(), nullable=False),
        sa.Column("old_slot", sa.Integer(), nullable=False),
        sa.Column("old_charge_out_pct", sa.Integer(), nullable=True),
        sa.Column("old_charge_in_pct", sa.Integer(), nullable=True),
        sa.Column("kept_bank_id", sa.Integer(), nullable=False),
        sa.Column("kept_slot", sa.Integer(), nullable=False),
        sa.Column("returned_slot", sa.SmallInteger(), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("returned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('waiting', 'expired')) = (returned_at IS NULL)", name=op.f("ck_rental_swap_returned_at")
        ),
        sa.CheckConstraint(
            "(state IN ('waiting', 'ejecting')) = (ended_at IS NULL)", name=op.f("ck_rental_swap_ended_at")
        ),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_rental_swap_rental_id_rental")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_rental_swap_station_id_station")),
        sa.ForeignKeyConstraint(["old_bank_id"], ["power_bank.id"], name=op.f("fk_rental_swap_old_bank_id_power_bank")),
        sa.ForeignKeyConstraint(["old_station_id"], ["station.id"], name=op.f("fk_rental_swap_old_station_id_station")),
        sa.ForeignKeyConstraint(
            ["kept_bank_id"], ["power_bank.id"], name=op.f("fk_rental_swap_kept_bank_id_power_bank")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rental_swap")),
    )
    for name, columns, where in (
        ("uq_rental_swap_open", ["rental_id"], "state IN ('waiting', 'ejecting')"),
        ("uq_rental_swap_done", ["rental_id"], "state = 'done'"),
        ("ix_rental_swap_expires_at", ["expires_at"], "state = 'waiting'"),
    ):
        unique = name.startswith("uq")
        op.create_index(name, "rental_swap", columns, unique=unique, postgresql_where=sa.text(where))


def downgrade() -> None:
    op.drop_table("rental_swap")
    op.drop_constraint(op.f("ck_rental_swap"), "rental", type_="check")
    for name in ("swaps", "swapped_at", "swap_id"):
        op.drop_column("rental", name)
