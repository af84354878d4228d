"""Banks that are kept for a rider for some minutes."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_83"
down_revision: str | None = "20261125_82"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ACTIVE = sa.text("state = 'active'")


def upgrade() -> None:
    op.add_column("tariff", sa.Column("reservation_fee_minor", sa.BigInteger(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_tariff_reservation"), "tariff", "reservation_fee_minor >= 0")
    states = sa.Enum("active", "used", "cancelled", "expired", name="reservationstate", native_enum=False, length=16)
    op.create_table(
        "reservation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("slot_number", sa.Integer(), nullable=False),
        sa.Column("power_bank_id", sa.Integer(), nullable=False),
        sa.Column("state", states, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("tax_name", sa.String(length=32), nullable=False),
        sa.Column("tax_bp", sa.Integer(), nullable=False),
        sa.Column("hold_transfer_id", sa.Uuid(), nullable=True),
        sa.Column("charged_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'active') = (ended_at IS NULL)", name=op.f("ck_reservation_ended_at")),
        sa.CheckConstraint("state <> 'used' OR rental_id IS NOT NULL", name=op.f("ck_reservation_used")),
        sa.CheckConstraint(
            "fee_minor >= 0 AND charged_minor BETWEEN 0 AND fee_minor", name=op.f("ck_reservation_amounts")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_reservation_user_id_app_user")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_reservation_station_id_station")),
        sa.ForeignKeyConstraint(
            ["power_bank_id"], ["power_bank.id"], name=op.f("fk_reservation_power_bank_id_power_bank")
        ),
        sa.ForeignKeyConstraint(
            ["hold_transfer_id"], ["ledger_transfer.id"],
            name=op.f("fk_reservation_hold_transfer_id_ledger_transfer"),
        ),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_reservation_rental_id_rental")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservation")),
    )  # fmt: skip
    op.create_index("uq_reservation_rider", "reservation", ["user_id"], unique=True, postgresql_where=ACTIVE)
    op.create_index("uq_reservation_bank", "reservation", ["power_bank_id"], unique=True, postgresql_where=ACTIVE)
    op.create_index("ix_reservation_expires_at", "reservation", ["expires_at"], postgresql_where=ACTIVE)
    op.create_index(op.f("ix_reservation_user_id_id"), "reservation", ["user_id", "id"])


def downgrade() -> None:
    op.drop_table("reservation")
    op.drop_constraint(op.f("ck_tariff_reservation"), "tariff", type_="check")
    op.drop_column("tariff", "reservation_fee_minor")
