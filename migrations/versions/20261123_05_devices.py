"""Tables of fleet.devices."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261123_05"
down_revision: str | None = "20261123_04"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.String(length=1000), nullable=False),
        sa.Column("station_code", sa.String(length=64), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("content_type", sa.String(length=100), nullable=True),
        sa.Column("error_code", sa.String(length=64), nullable=False),
        sa.Column("error", sa.String(length=2000), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting", "requested", "replayed", "discarded", name="deadletterstate", native_enum=False, length=16
            ),
            nullable=False,
        ),
        sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("replay_error", sa.String(length=2000), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter")),
    )
    op.create_index(op.f("ix_dead_letter_error_code"), "dead_letter", ["error_code"], unique=False)
    op.create_index(op.f("ix_dead_letter_state_id"), "dead_letter", ["state", "id"], unique=False)
    op.create_index(op.f("ix_dead_letter_station_code_id"), "dead_letter", ["station_code", "id"], unique=False)
    op.create_table(
        "device_sample",
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("station_id", "boot", "seq", name=op.f("pk_device_sample")),
    )
    op.create_index(op.f("ix_device_sample_received_at"), "device_sample", ["received_at"], unique=False)
    op.create_table(
        "gateway_instance",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("connected_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_gateway_instance")),
    )
    op.create_table(
        "device_command",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("args", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "sent",
                "unknown",
                "succeeded",
                "failed",
                "expired",
                "cancelled",
                "abandoned",
                name="commandstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=True),
        sa.Column("requested_by", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claimed_by", sa.String(length=64), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("topic", sa.String(length=200), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "outcome",
            sa.Enum(
                "succeeded",
                "failed",
                "expired",
                "unsupported",
                "busy",
                "invalid",
                name="commandoutcome",
                native_enum=False,
                length=16,
            ),
            nullable=True,
        ),
        sa.Column("code", sa.String(length=256), nullable=True),
        sa.Column("result_slot", sa.Integer(), nullable=True),
        sa.Column("result_serial", sa.String(length=64), nullable=True),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_device_command_attempt")),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["app_user.id"], name=op.f("fk_device_command_requested_by_app_user")
        ),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_device_command_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_command")),
    )
    op.create_index(
        "ix_device_command_open_deadline",
        "device_command",
        ["deadline"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'sent')"),
    )
    op.create_index(
        "ix_device_command_queued",
        "device_command",
        ["station_id", "created_at"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(op.f("ix_device_command_rental_id"), "device_command", ["rental_id"], unique=False)
    op.create_index(
        op.f("ix_device_command_station_id_created_at"), "device_command", ["station_id", "created_at"], unique=False
    )
    op.create_index(
        "ix_device_command_unknown",
        "device_command",
        ["station_id"],
        unique=False,
        postgresql_where=sa.text("state = 'unknown'"),
    )
    op.create_index(
        "uq_device_command_eject_in_flight",
        "device_command",
        ["station_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'eject_power_bank' AND state IN ('sent', 'unknown')"),
    )
    op.create_table(
        "device_event",
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replayed", sa.Boolean(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("encoding", sa.SmallInteger(), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("station_id", "boot", "seq", name=op.f("pk_device_event")),
    )
    op.create_index(
        op.f("ix_device_event_received_at"), "device_event", ["received_at"], unique=False, postgresql_using="brin"
    )
    op.create_index(
        "ix_device_event_waiting",
        "device_event",
        ["station_id", "boot", "seq"],
        unique=False,
        postgresql_where=sa.text("applied_at IS NULL"),
    )
    op.create_table(
        "device_session",
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("firmware", sa.String(length=256), nullable=False),
        sa.Column("hardware", sa.String(length=256), nullable=False),
        sa.Column("iccid", sa.String(length=256), nullable=True),
        sa.Column("reset_cause", sa.String(length=16), nullable=False),
        sa.Column("boot_floor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cause", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_device_session_station_id_station")),
        sa.PrimaryKeyConstraint("station_id", "epoch", name=op.f("pk_device_session")),
    )
    op.create_index(
        "ix_device_session_open_last_seen_at",
        "device_session",
        ["last_seen_at"],
        unique=False,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "uq_device_session_open",
        "device_session",
        ["station_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "device_stream",
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("boot", sa.BigInteger(), nullable=False),
        sa.Column("acked_through", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("applied_through", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("seen_through", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=True),
        sa.Column("clock_offset_ms", sa.BigInteger(), nullable=True),
        sa.Column("lost", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("gap_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resend_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_device_stream_station_id_station")),
        sa.PrimaryKeyConstraint("station_id", "boot", name=op.f("pk_device_stream")),
    )
    op.create_index(
        "ix_device_stream_gap_since",
        "device_stream",
        ["gap_since"],
        unique=False,
        postgresql_where=sa.text("gap_since IS NOT NULL"),
    )
    op.create_index(
        "ix_device_stream_open",
        "device_stream",
        ["station_id"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    # Updated with every batch, no index touched: room on the page keeps these updates in place (HOT).
    op.execute("ALTER TABLE device_stream SET (fillfactor = 50)")
    op.execute("ALTER TABLE device_session SET (fillfactor = 80)")
    op.execute("ALTER TABLE station_slot SET (fillfactor = 70)")


def downgrade() -> None:
    op.drop_index("ix_device_stream_open", table_name="device_stream", postgresql_where=sa.text("closed_at IS NULL"))
    op.drop_index(
        "ix_device_stream_gap_since", table_name="device_stream", postgresql_where=sa.text("gap_since IS NOT NULL")
    )
    op.drop_table("device_stream")
    op.drop_index("uq_device_session_open", table_name="device_session", postgresql_where=sa.text("ended_at IS NULL"))
    op.drop_index(
        "ix_device_session_open_last_seen_at", table_name="device_session", postgresql_where=sa.text("ended_at IS NULL")
    )
    op.drop_table("device_session")
    op.drop_index("ix_device_event_waiting", table_name="device_event", postgresql_where=sa.text("applied_at IS NULL"))
    op.drop_index(op.f("ix_device_event_received_at"), table_name="device_event", postgresql_using="brin")
    op.drop_table("device_event")
    op.drop_index(
        "uq_device_command_eject_in_flight",
        table_name="device_command",
        postgresql_where=sa.text("kind = 'eject_power_bank' AND state IN ('sent', 'unknown')"),
    )
    op.drop_index(
        "ix_device_command_unknown", table_name="device_command", postgresql_where=sa.text("state = 'unknown'")
    )
    op.drop_index(op.f("ix_device_command_station_id_created_at"), table_name="device_command")
    op.drop_index(op.f("ix_device_command_rental_id"), table_name="device_command")
    op.drop_index("ix_device_command_queued", table_name="device_command", postgresql_where=sa.text("state = 'queued'"))
    op.drop_index(
        "ix_device_command_open_deadline",
        table_name="device_command",
        postgresql_where=sa.text("state IN ('queued', 'sent')"),
    )
    op.drop_table("device_command")
    op.drop_table("gateway_instance")
    op.drop_index(op.f("ix_device_sample_received_at"), table_name="device_sample")
    op.drop_table("device_sample")
    op.drop_index(op.f("ix_dead_letter_station_code_id"), table_name="dead_letter")
    op.drop_index(op.f("ix_dead_letter_state_id"), table_name="dead_letter")
    op.drop_index(op.f("ix_dead_letter_error_code"), table_name="dead_letter")
    op.drop_table("dead_letter")
