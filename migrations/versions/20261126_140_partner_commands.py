"""What partners order their cabinets to do."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_140"
down_revision: str | None = "20261126_133"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE = "partner_command"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("command_id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["command_id"], ["device_command.id"], name=op.f("fk_partner_command_command_id_device_command")
        ),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_partner_command_partner_id_partner")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_partner_command_station_id_station")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_partner_command_user_id_app_user")),
        sa.PrimaryKeyConstraint("command_id", name=op.f("pk_partner_command")),
    )
    op.create_index(op.f("ix_partner_command_partner_id_command_id"), TABLE, ["partner_id", "command_id"])
    op.execute(
        f"CREATE TRIGGER {TABLE}_append_only BEFORE UPDATE OR DELETE ON {TABLE}"
        " FOR EACH ROW EXECUTE FUNCTION append_only_guard()"
    )
    op.execute(
        f"CREATE TRIGGER {TABLE}_keep BEFORE TRUNCATE ON {TABLE}"
        " FOR EACH STATEMENT EXECUTE FUNCTION append_only_guard()"
    )


def downgrade() -> None:
    op.drop_table(TABLE)
