"""Tables of fleet.rentals."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261123_07"
down_revision: str | None = "20261123_06"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "tariff",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=True),
        sa.Column("city", sa.String(length=100), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("unlock_minor", sa.BigInteger(), nullable=False),
        sa.Column("free_period", sa.Interval(), nullable=False),
        sa.Column("interval_minor", sa.BigInteger(), nullable=False),
        sa.Column("interval_length", sa.Interval(), nullable=False),
        sa.Column("daily_cap_minor", sa.BigInteger(), nullable=False),
        sa.Column("total_cap_minor", sa.BigInteger(), nullable=False),
        sa.Column("hold_minor", sa.BigInteger(), nullable=False),
        sa.Column("overdue_after", sa.Interval(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "interval_length > interval '0' AND free_period >= interval '0'", name=op.f("ck_tariff_durations")
        ),
        sa.CheckConstraint(
            "unlock_minor >= 0 AND interval_minor >= 0 AND daily_cap_minor >= 0"
            " AND total_cap_minor >= 0 AND hold_minor >= 0",
            name=op.f("ck_tariff_amounts"),
        ),
        sa.ForeignKeyConstraint(["country"], ["country.iso_code"], name=op.f("fk_tariff_country_country")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_tariff_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tariff")),
    )
    op.create_index(op.f("ix_tariff_station_id"), "tariff", ["station_id"], unique=False)
    op.create_table(
        "rental",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "ejecting",
                "eject_unknown",
                "active",
                "overdue",
                "completed",
                "cancelled",
                "eject_failed",
                "bought_out",
                "disputed",
                name="rentalstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("open_place", sa.SmallInteger(), nullable=True),
        sa.Column("power_bank_id", sa.Integer(), nullable=False),
        sa.Column("station_out_id", sa.Integer(), nullable=False),
        sa.Column("slot_out", sa.Integer(), nullable=False),
        sa.Column("station_in_id", sa.Integer(), nullable=True),
        sa.Column("slot_in", sa.Integer(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("eject_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "start_evidence",
            sa.Enum("order", "result", "movement", name="startevidence", native_enum=False, length=16),
            nullable=True,
        ),
        sa.Column("overdue_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("buyout_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tariff_id", sa.Uuid(), nullable=False),
        sa.Column("terms", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("hold_transfer_id", sa.Uuid(), nullable=True),
        sa.Column("price_minor", sa.BigInteger(), nullable=True),
        sa.Column("price_lines", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("charged_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("due_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("charge_out_pct", sa.Integer(), nullable=True),
        sa.Column("charge_in_pct", sa.Integer(), nullable=True),
        sa.Column("failure_code", sa.String(length=64), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "(state IN ('ejecting', 'eject_unknown', 'active', 'overdue')) = (open_place IS NOT NULL)",
            name=op.f("ck_rental_open_place"),
        ),
        sa.CheckConstraint("charged_minor >= 0 AND due_minor >= 0", name=op.f("ck_rental_amounts")),
        sa.CheckConstraint(
            "ended_at IS NULL OR started_at IS NULL OR ended_at >= started_at", name=op.f("ck_rental_times")
        ),
        sa.ForeignKeyConstraint(
            ["hold_transfer_id"], ["ledger_transfer.id"], name=op.f("fk_rental_hold_transfer_id_ledger_transfer")
        ),
        sa.ForeignKeyConstraint(["power_bank_id"], ["power_bank.id"], name=op.f("fk_rental_power_bank_id_power_bank")),
        sa.ForeignKeyConstraint(["station_in_id"], ["station.id"], name=op.f("fk_rental_station_in_id_station")),
        sa.ForeignKeyConstraint(["station_out_id"], ["station.id"], name=op.f("fk_rental_station_out_id_station")),
        sa.ForeignKeyConstraint(["tariff_id"], ["tariff.id"], name=op.f("fk_rental_tariff_id_tariff")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_rental_user_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rental")),
    )
    op.create_index(
        "ix_rental_buyout_at",
        "rental",
        ["buyout_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('active', 'overdue')"),
    )
    op.create_index(
        "ix_rental_overdue_at",
        "rental",
        ["overdue_at"],
        unique=False,
        postgresql_where=sa.text("state = 'active'"),
    )
    op.create_index("ix_rental_owed", "rental", ["user_id"], unique=False, postgresql_where=sa.text("due_minor > 0"))
    op.create_index(op.f("ix_rental_power_bank_id"), "rental", ["power_bank_id"], unique=False)
    op.create_index(
        "ix_rental_state_deadline",
        "rental",
        ["state", "requested_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('ejecting', 'eject_unknown', 'active', 'overdue')"),
    )
    op.create_index(op.f("ix_rental_station_out_id"), "rental", ["station_out_id"], unique=False)
    op.create_index(op.f("ix_rental_user_id_id"), "rental", ["user_id", "id"], unique=False)
    op.create_index(
        "uq_rental_open_place",
        "rental",
        ["user_id", "open_place"],
        unique=True,
        postgresql_where=sa.text("state IN ('ejecting', 'eject_unknown', 'active', 'overdue')"),
    )
    op.create_index(
        "uq_rental_open_power_bank",
        "rental",
        ["power_bank_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('ejecting', 'eject_unknown', 'active', 'overdue')"),
    )
    op.create_table(
        "orphan_bank_case",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("power_bank_id", sa.Integer(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("slot_number", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=True),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Enum("open", "resolved", name="casestate", native_enum=False, length=16), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolution", sa.String(length=300), nullable=True),
        sa.ForeignKeyConstraint(
            ["power_bank_id"], ["power_bank.id"], name=op.f("fk_orphan_bank_case_power_bank_id_power_bank")
        ),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_orphan_bank_case_rental_id_rental")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_orphan_bank_case_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orphan_bank_case")),
    )
    op.create_index(
        "uq_orphan_bank_case_open",
        "orphan_bank_case",
        ["power_bank_id"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "rental_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column(
            "from_state",
            sa.Enum(
                "ejecting",
                "eject_unknown",
                "active",
                "overdue",
                "completed",
                "cancelled",
                "eject_failed",
                "bought_out",
                "disputed",
                name="rentalstate",
                native_enum=False,
                length=16,
            ),
            nullable=True,
        ),
        sa.Column(
            "to_state",
            sa.Enum(
                "ejecting",
                "eject_unknown",
                "active",
                "overdue",
                "completed",
                "cancelled",
                "eject_failed",
                "bought_out",
                "disputed",
                name="rentalstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("why", sa.String(length=64), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_rental_event_rental_id_rental")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rental_event")),
    )
    op.create_index(op.f("ix_rental_event_rental_id_id"), "rental_event", ["rental_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_rental_event_rental_id_id"), table_name="rental_event")
    op.drop_table("rental_event")
    op.drop_index("uq_orphan_bank_case_open", table_name="orphan_bank_case", postgresql_where=sa.text("state = 'open'"))
    op.drop_table("orphan_bank_case")
    op.drop_index(
        "uq_rental_open_power_bank",
        table_name="rental",
        postgresql_where=sa.text("state IN ('ejecting', 'eject_unknown', 'active', 'overdue')"),
    )
    op.drop_index(
        "uq_rental_open_place",
        table_name="rental",
        postgresql_where=sa.text("state IN ('ejecting', 'eject_unknown', 'active', 'overdue')"),
    )
    op.drop_index(op.f("ix_rental_user_id_id"), table_name="rental")
    op.drop_index(op.f("ix_rental_station_out_id"), table_name="rental")
    op.drop_index(
        "ix_rental_state_deadline",
        table_name="rental",
        postgresql_where=sa.text("state IN ('ejecting', 'eject_unknown', 'active', 'overdue')"),
    )
    op.drop_index(op.f("ix_rental_power_bank_id"), table_name="rental")
    for index in ("ix_rental_owed", "ix_rental_overdue_at", "ix_rental_buyout_at"):
        op.drop_index(index, table_name="rental")
    op.drop_table("rental")
    op.drop_index(op.f("ix_tariff_station_id"), table_name="tariff")
    op.drop_table("tariff")
