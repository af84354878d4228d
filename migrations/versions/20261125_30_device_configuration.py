"""What cabinets should have, and what they say they have."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261125_30"
down_revision: str | None = "20261125_21"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "device_group",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("description", sa.String(length=300), server_default="", nullable=False),
        sa.Column("rank", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("name ~ '^[A-Za-z0-9._-]{1,64}$'", name=op.f("ck_device_group_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_group")),
        sa.UniqueConstraint("name", name=op.f("uq_device_group_name")),
    )
    op.create_table(
        "device_group_member",
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"],
            ["device_group.id"],
            name=op.f("fk_device_group_member_group_id_device_group"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_device_group_member_station_id_station")),
        sa.PrimaryKeyConstraint("group_id", "station_id", name=op.f("pk_device_group_member")),
    )
    op.create_index(op.f("ix_device_group_member_station_id"), "device_group_member", ["station_id"], unique=False)
    op.create_table(
        "device_config_layer",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "scope",
            sa.Enum("dialect", "model", "group", name="configscope", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("values", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_by", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["updated_by"], ["app_user.id"], name=op.f("fk_device_config_layer_updated_by_app_user")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_config_layer")),
        sa.UniqueConstraint("scope", "name", name=op.f("uq_device_config_layer_scope_name")),
    )
    op.create_table(
        "device_config",
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("overrides", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("overrides_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("desired", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("desired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stale", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refused_version", sa.BigInteger(), nullable=True),
        sa.Column("refused_code", sa.String(length=256), nullable=True),
        sa.Column("refused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted_version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("reported", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_boot", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("seen_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("drifted", sa.Boolean(), server_default="false", nullable=False),
        sa.CheckConstraint("version >= 0 AND accepted_version >= 0", name=op.f("ck_device_config_versions")),
        sa.ForeignKeyConstraint(
            ["command_id"], ["device_command.id"], name=op.f("fk_device_config_command_id_device_command")
        ),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_device_config_station_id_station")),
        sa.PrimaryKeyConstraint("station_id", name=op.f("pk_device_config")),
    )
    op.create_index(op.f("ix_device_config_command_id"), "device_config", ["command_id"], unique=False)
    op.create_index(
        "ix_device_config_drifted", "device_config", ["station_id"], unique=False, postgresql_where=sa.text("drifted")
    )
    op.create_index(
        "ix_device_config_pending",
        "device_config",
        ["station_id"],
        unique=False,
        postgresql_where=sa.text("version <> accepted_version"),
    )
    op.create_index(
        "ix_device_config_stale", "device_config", ["station_id"], unique=False, postgresql_where=sa.text("stale")
    )


def downgrade() -> None:
    op.drop_table("device_config")
    op.drop_table("device_config_layer")
    op.drop_table("device_group_member")
    op.drop_table("device_group")
