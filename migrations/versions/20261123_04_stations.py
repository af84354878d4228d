"""Tables of fleet.stations."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261123_04"
down_revision: str | None = "20261123_03"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "station",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("address", sa.String(length=300), nullable=True),
        sa.Column("city", sa.String(length=100), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("latitude", sa.Float(precision=53), nullable=False),
        sa.Column("longitude", sa.Float(precision=53), nullable=False),
        sa.Column("h3_cell", sa.BigInteger(), nullable=False),
        sa.Column("time_zone", sa.String(length=64), server_default="UTC", nullable=False),
        sa.Column(
            "status",
            sa.Enum("active", "maintenance", "disabled", name="stationstatus", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("dialect", sa.String(length=32), server_default="native", nullable=False),
        sa.Column("hardware_model", sa.String(length=100), nullable=True),
        sa.Column("firmware_version", sa.String(length=256), nullable=True),
        sa.Column("slot_count", sa.Integer(), nullable=False),
        sa.Column("online", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("online_changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_heard_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_s", sa.Integer(), server_default="30", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("code ~ '^[A-Za-z0-9._-]{1,64}$'", name=op.f("ck_station_code")),
        sa.CheckConstraint(
            "latitude BETWEEN -90 AND 90 AND longitude BETWEEN -180 AND 180", name=op.f("ck_station_position")
        ),
        sa.ForeignKeyConstraint(["country"], ["country.iso_code"], name=op.f("fk_station_country_country")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_station")),
        sa.UniqueConstraint("code", name=op.f("uq_station_code")),
    )
    op.create_index(op.f("ix_station_city"), "station", ["city"], unique=False)
    op.create_index(op.f("ix_station_h3_cell"), "station", ["h3_cell"], unique=False)
    op.create_index(op.f("ix_station_latitude_longitude"), "station", ["latitude", "longitude"], unique=False)
    op.create_table(
        "power_bank",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "available",
                "rented",
                "missing",
                "maintenance",
                "damaged",
                "quarantined",
                "lost",
                name="powerbankstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("known", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("charge_pct", sa.Integer(), nullable=True),
        sa.Column("cycles", sa.Integer(), nullable=True),
        sa.Column("health_pct", sa.Integer(), nullable=True),
        sa.Column("temperature_c", sa.Double(), nullable=True),
        sa.Column("capacity_mah", sa.Integer(), nullable=True),
        sa.Column("quarantine_reason", sa.String(length=200), nullable=True),
        sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_station_id", sa.Integer(), nullable=True),
        sa.Column("seen_boot", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("seen_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("charge_pct BETWEEN 0 AND 100", name=op.f("ck_power_bank_charge_pct")),
        sa.ForeignKeyConstraint(
            ["seen_station_id"], ["station.id"], name=op.f("fk_power_bank_seen_station_id_station")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_power_bank")),
        sa.UniqueConstraint("serial", name=op.f("uq_power_bank_serial")),
    )
    op.create_index(op.f("ix_power_bank_state"), "power_bank", ["state"], unique=False)
    op.create_table(
        "power_bank_movement",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("power_bank_id", sa.Integer(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("slot_number", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("inserted", "ejected", "found", "vanished", name="movementkind", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("rental_id", sa.Uuid(), nullable=True),
        sa.Column("charge_pct", sa.Integer(), nullable=True),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["power_bank_id"], ["power_bank.id"], name=op.f("fk_power_bank_movement_power_bank_id_power_bank")
        ),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_power_bank_movement_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_power_bank_movement")),
        sa.UniqueConstraint(
            "station_id",
            "boot",
            "seq",
            "power_bank_id",
            "kind",
            name=op.f("uq_power_bank_movement_station_id_boot_seq_power_bank_id_kind"),
        ),
    )
    op.create_index(
        op.f("ix_power_bank_movement_power_bank_id_at"), "power_bank_movement", ["power_bank_id", "at"], unique=False
    )
    op.create_index(op.f("ix_power_bank_movement_rental_id"), "power_bank_movement", ["rental_id"], unique=False)
    op.create_index(
        op.f("ix_power_bank_movement_station_id_at"), "power_bank_movement", ["station_id", "at"], unique=False
    )
    op.create_table(
        "station_fault",
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "tamper",
                "over_temperature",
                "smoke",
                "power_lost",
                name="stationfaultkind",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.String(length=256), nullable=True),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_station_fault_station_id_station")),
        sa.PrimaryKeyConstraint("station_id", "kind", name=op.f("pk_station_fault")),
    )
    op.create_table(
        "station_slot",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("empty", "occupied", "fault", "unknown", name="slotstate", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("locked", sa.Boolean(), nullable=True),
        sa.Column("lock_boot", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lock_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("power_bank_id", sa.Integer(), nullable=True),
        sa.Column("disabled_reason", sa.String(length=200), nullable=True),
        sa.Column("health_score", sa.Integer(), server_default="100", nullable=False),
        sa.Column("fault", sa.String(length=32), nullable=True),
        sa.Column("fault_boot", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fault_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reserved_for", sa.Uuid(), nullable=True),
        sa.Column("watched_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("observed_boot", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("observed_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "power_bank_id IS NULL OR state <> 'empty'", name=op.f("ck_station_slot_empty_holds_nothing")
        ),
        sa.CheckConstraint("number BETWEEN 1 AND 512", name=op.f("ck_station_slot_number")),
        sa.ForeignKeyConstraint(
            ["power_bank_id"], ["power_bank.id"], name=op.f("fk_station_slot_power_bank_id_power_bank")
        ),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_station_slot_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_station_slot")),
        sa.UniqueConstraint("power_bank_id", name=op.f("uq_station_slot_power_bank_id")),
        sa.UniqueConstraint("station_id", "number", name=op.f("uq_station_slot_station_id_number")),
    )
    op.create_table(
        "station_status_history",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("cause", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["station_id"], ["station.id"], name=op.f("fk_station_status_history_station_id_station")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_station_status_history")),
    )
    op.create_index(
        op.f("ix_station_status_history_station_id_at"), "station_status_history", ["station_id", "at"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_station_status_history_station_id_at"), table_name="station_status_history")
    op.drop_table("station_status_history")
    op.drop_table("station_slot")
    op.drop_table("station_fault")
    op.drop_index(op.f("ix_power_bank_movement_station_id_at"), table_name="power_bank_movement")
    op.drop_index(op.f("ix_power_bank_movement_rental_id"), table_name="power_bank_movement")
    op.drop_index(op.f("ix_power_bank_movement_power_bank_id_at"), table_name="power_bank_movement")
    op.drop_table("power_bank_movement")
    op.drop_index(op.f("ix_power_bank_state"), table_name="power_bank")
    op.drop_table("power_bank")
    op.drop_index(op.f("ix_station_latitude_longitude"), table_name="station")
    op.drop_index(op.f("ix_station_h3_cell"), table_name="station")
    op.drop_index(op.f("ix_station_city"), table_name="station")
    op.drop_table("station")
