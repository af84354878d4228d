"""Logs collected from cabinets."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_31"
down_revision: str | None = "20261125_30"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "device_log",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "requested",
                "receiving",
                "complete",
                "incomplete",
                "truncated",
                "failed",
                name="logstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("max_bytes", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.Column("requested_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("asked", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ask_again_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_index", sa.Integer(), nullable=True),
        sa.Column("chunks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("code", sa.String(length=256), nullable=True),
        sa.CheckConstraint("chunks >= 0 AND size >= 0 AND size <= max_bytes", name=op.f("ck_device_log_size")),
        sa.ForeignKeyConstraint(
            ["command_id"], ["device_command.id"], name=op.f("fk_device_log_command_id_device_command")
        ),
        sa.ForeignKeyConstraint(["requested_by"], ["app_user.id"], name=op.f("fk_device_log_requested_by_app_user")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_device_log_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_log")),
    )
    op.create_index(op.f("ix_device_log_created_at"), "device_log", ["created_at"], unique=False)
    op.create_index(
        "ix_device_log_open",
        "device_log",
        ["ask_again_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('requested', 'receiving')"),
    )
    op.create_index(
        op.f("ix_device_log_station_id_created_at"), "device_log", ["station_id", "created_at"], unique=False
    )
    op.create_table(
        "device_log_chunk",
        sa.Column("log_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["log_id"], ["device_log.id"], name=op.f("fk_device_log_chunk_log_id_device_log"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("log_id", "index", name=op.f("pk_device_log_chunk")),
    )


def downgrade() -> None:
    op.drop_table("device_log_chunk")
    op.drop_table("device_log")
