"""Signed releases and their way through the fleet."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261125_32"
down_revision: str | None = "20261125_31"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "firmware_root",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint("version >= 1", name=op.f("ck_firmware_root_version")),
        sa.ForeignKeyConstraint(["created_by"], ["app_user.id"], name=op.f("fk_firmware_root_created_by_app_user")),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_firmware_root")),
    )
    op.create_table(
        "firmware_release",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("hardware", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("min_version", sa.String(length=64), nullable=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column(
            "state",
            sa.Enum("no_image", "ready", "withdrawn", name="releasestate", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("notes", sa.String(length=2000), server_default="", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint("size > 0 AND counter > 0", name=op.f("ck_firmware_release_size")),
        sa.ForeignKeyConstraint(["created_by"], ["app_user.id"], name=op.f("fk_firmware_release_created_by_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firmware_release")),
        sa.UniqueConstraint("digest", name=op.f("uq_firmware_release_digest")),
    )
    op.create_index(op.f("ix_firmware_release_version"), "firmware_release", ["version"], unique=False)
    op.create_table(
        "firmware_rollout",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "draft",
                "running",
                "paused",
                "halted",
                "waiting",
                "completed",
                "aborted",
                name="rolloutstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.Column("failure_pct", sa.Integer(), nullable=False),
        sa.Column("per_minute", sa.Integer(), nullable=False),
        sa.Column("device_deadline_s", sa.Integer(), nullable=False),
        sa.Column("current_group", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_offer_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "device_deadline_s BETWEEN 30 AND 604800", name=op.f("ck_firmware_rollout_device_deadline_s")
        ),
        sa.CheckConstraint("failure_pct BETWEEN 0 AND 100", name=op.f("ck_firmware_rollout_failure_pct")),
        sa.CheckConstraint("per_minute BETWEEN 1 AND 6000", name=op.f("ck_firmware_rollout_per_minute")),
        sa.ForeignKeyConstraint(
            ["approved_by"], ["app_user.id"], name=op.f("fk_firmware_rollout_approved_by_app_user")
        ),
        sa.ForeignKeyConstraint(["created_by"], ["app_user.id"], name=op.f("fk_firmware_rollout_created_by_app_user")),
        sa.ForeignKeyConstraint(
            ["release_id"], ["firmware_release.id"], name=op.f("fk_firmware_rollout_release_id_firmware_release")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firmware_rollout")),
    )
    op.create_index(
        "ix_firmware_rollout_open",
        "firmware_rollout",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state NOT IN ('completed', 'aborted')"),
    )
    op.create_index(op.f("ix_firmware_rollout_release_id"), "firmware_rollout", ["release_id"], unique=False)
    op.create_table(
        "firmware_rollout_group",
        sa.Column("rollout_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("selector", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("starts_by_itself", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("forgiven", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "number >= 1 AND size >= 1 AND forgiven >= 0", name=op.f("ck_firmware_rollout_group_number")
        ),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["firmware_rollout.id"], name=op.f("fk_firmware_rollout_group_rollout_id_firmware_rollout")
        ),
        sa.PrimaryKeyConstraint("rollout_id", "number", name=op.f("pk_firmware_rollout_group")),
    )
    op.create_table(
        "firmware_rollout_target",
        sa.Column("rollout_id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("group_number", sa.Integer(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "offered",
                "updating",
                "starting",
                "updated",
                "failed",
                "timed_out",
                "skipped",
                name="targetstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("from_version", sa.String(length=256), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("command_id", sa.Uuid(), nullable=True),
        sa.Column("offered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=True),
        sa.Column("phase", sa.String(length=256), nullable=True),
        sa.Column("progress_pct", sa.Integer(), nullable=True),
        sa.Column("progress_boot", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("progress_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("code", sa.String(length=256), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["command_id"], ["device_command.id"], name=op.f("fk_firmware_rollout_target_command_id_device_command")
        ),
        sa.ForeignKeyConstraint(
            ["rollout_id", "group_number"],
            ["firmware_rollout_group.rollout_id", "firmware_rollout_group.number"],
            name=op.f("fk_firmware_rollout_target_rollout_id_firmware_rollout_group"),
        ),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["firmware_rollout.id"], name=op.f("fk_firmware_rollout_target_rollout_id_firmware_rollout")
        ),
        sa.ForeignKeyConstraint(
            ["station_id"], ["station.id"], name=op.f("fk_firmware_rollout_target_station_id_station")
        ),
        sa.PrimaryKeyConstraint("rollout_id", "station_id", name=op.f("pk_firmware_rollout_target")),
    )
    op.create_index(
        op.f("ix_firmware_rollout_target_command_id"), "firmware_rollout_target", ["command_id"], unique=False
    )
    op.create_index(
        "ix_firmware_rollout_target_state",
        "firmware_rollout_target",
        ["rollout_id", "group_number", "state"],
        unique=False,
    )
    op.create_index(
        "ix_firmware_rollout_target_unproven",
        "firmware_rollout_target",
        ["station_id"],
        unique=False,
        postgresql_where=sa.text("state IN ('offered', 'updating', 'starting', 'failed', 'timed_out')"),
    )
    op.create_index(
        "uq_firmware_rollout_target_under_way",
        "firmware_rollout_target",
        ["station_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('offered', 'updating', 'starting')"),
    )
    op.create_table(
        "firmware_rollout_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("rollout_id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=True),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("before", sa.String(length=16), nullable=True),
        sa.Column("after", sa.String(length=16), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["actor_id"], ["app_user.id"], name=op.f("fk_firmware_rollout_event_actor_id_app_user")
        ),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["firmware_rollout.id"], name=op.f("fk_firmware_rollout_event_rollout_id_firmware_rollout")
        ),
        sa.ForeignKeyConstraint(
            ["station_id"], ["station.id"], name=op.f("fk_firmware_rollout_event_station_id_station")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firmware_rollout_event")),
    )
    op.create_index(
        op.f("ix_firmware_rollout_event_rollout_id_id"), "firmware_rollout_event", ["rollout_id", "id"], unique=False
    )

    for statement in (
        "BEFORE UPDATE OR DELETE ON firmware_rollout_event FOR EACH ROW",
        "BEFORE TRUNCATE ON firmware_rollout_event FOR EACH STATEMENT",
    ):
        name = "firmware_rollout_event_" + ("keep" if "TRUNCATE" in statement else "append_only")
        op.execute(f"CREATE TRIGGER {name} {statement} EXECUTE FUNCTION append_only_guard()")


def downgrade() -> None:
    op.drop_table("firmware_rollout_event")
    op.drop_table("firmware_rollout_target")
    op.drop_table("firmware_rollout_group")
    op.drop_table("firmware_rollout")
    op.drop_table("firmware_release")
    op.drop_table("firmware_root")
