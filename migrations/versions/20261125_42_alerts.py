"""Alerts and their rules."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_42"
down_revision: str | None = "20261125_22"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

KINDS = (
    "offline", "over_temperature", "smoke", "tamper", "power_lost", "low_charge", "full", "empty", "jam_rate",
    "inventory",
)  # fmt: skip


def kind() -> sa.Column[str]:
    return sa.Column("kind", sa.Enum(*KINDS, name="alertkind", native_enum=False, length=32), nullable=False)


def severity() -> sa.Column[str]:
    values = sa.Enum("info", "warning", "critical", name="severity", native_enum=False, length=16)
    return sa.Column("severity", values, nullable=False)


def instant(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "alert_rule",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        kind(),
        severity(),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("duration", sa.Interval(), nullable=False),
        sa.Column("clear_after", sa.Interval(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=True),
        sa.Column("city", sa.String(100), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default="true", nullable=False),
        instant("created_at"),
        instant("updated_at"),
        instant("removed_at", nullable=True),
        sa.CheckConstraint("station_id IS NULL OR city IS NULL", name="ck_alert_rule_scope"),
        sa.CheckConstraint("duration >= interval '0' AND clear_after >= interval '0'", name="ck_alert_rule_durations"),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name="fk_alert_rule_station_id_station"),
        sa.PrimaryKeyConstraint("id", name="pk_alert_rule"),
    )
    op.create_index(
        "uq_alert_rule_name", "alert_rule", ["name"], unique=True, postgresql_where=sa.text("removed_at IS NULL")
    )
    op.create_table(
        "alert_watch",
        sa.Column("rule_id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        instant("since"),
        sa.ForeignKeyConstraint(["rule_id"], ["alert_rule.id"], name="fk_alert_watch_rule_id_alert_rule"),
        sa.PrimaryKeyConstraint("rule_id", "subject", name="pk_alert_watch"),
    )
    op.create_table(
        "alert",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("rule_id", sa.Integer(), nullable=False),
        kind(),
        severity(),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=True),
        sa.Column("slot_number", sa.Integer(), nullable=True),
        sa.Column("power_bank_id", sa.Integer(), nullable=True),
        sa.Column(
            "state",
            sa.Enum("open", "acknowledged", "closed", name="alertstate", native_enum=False, length=16),
            nullable=False,
        ),
        instant("since"),
        instant("opened_at"),
        sa.Column("value", sa.Float(), nullable=True),
        instant("acknowledged_at", nullable=True),
        sa.Column("acknowledged_by", sa.Uuid(), nullable=True),
        instant("clear_since", nullable=True),
        instant("closed_at", nullable=True),
        sa.Column("close_reason", sa.String(32), nullable=True),
        sa.CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="ck_alert_closed_at"),
        sa.ForeignKeyConstraint(["rule_id"], ["alert_rule.id"], name="fk_alert_rule_id_alert_rule"),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name="fk_alert_station_id_station"),
        sa.ForeignKeyConstraint(["power_bank_id"], ["power_bank.id"], name="fk_alert_power_bank_id_power_bank"),
        sa.ForeignKeyConstraint(["acknowledged_by"], ["app_user.id"], name="fk_alert_acknowledged_by_app_user"),
        sa.PrimaryKeyConstraint("id", name="pk_alert"),
    )
    op.create_index(
        "uq_alert_open", "alert", ["rule_id", "subject"], unique=True, postgresql_where=sa.text("state <> 'closed'")
    )
    op.create_index("ix_alert_station_id_id", "alert", ["station_id", "id"])
    op.create_index("ix_alert_state_id", "alert", ["state", "id"])
    op.create_table(
        "alert_event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        instant("at"),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("note", sa.String(1000), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.id"], name="fk_alert_event_alert_id_alert"),
        sa.ForeignKeyConstraint(["actor_id"], ["app_user.id"], name="fk_alert_event_actor_id_app_user"),
        sa.PrimaryKeyConstraint("id", name="pk_alert_event"),
    )
    op.create_index("ix_alert_event_alert_id", "alert_event", ["alert_id"])
    # What jams are counted by.
    op.create_index("ix_health_event_at", "health_event", ["at"])


def downgrade() -> None:
    op.drop_index("ix_health_event_at", "health_event")
    for table in ("alert_event", "alert", "alert_watch", "alert_rule"):
        op.drop_table(table)
