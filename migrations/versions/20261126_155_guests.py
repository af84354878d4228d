"""Riders without an account: their card is what is known of them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_155"
down_revision: str | None = "20261126_160"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_REACHABLE = "ck_app_user_reachable"
#: What a deletion of an account has to ask, where that grows with the fleet: table and column.
_ASKED = (
    ("ledger_account", "rider_id"),
    ("device_command", "requested_by"),
    ("rental_pause", "asked_by"),
    ("alert", "acknowledged_by"),
    ("alert_event", "actor_id"),
)


def upgrade() -> None:
    op.add_column("app_user", sa.Column("guest", sa.Boolean(), server_default="false", nullable=False))
    op.drop_constraint(op.f(_REACHABLE), "app_user", type_="check")
    op.create_check_constraint(
        op.f(_REACHABLE), "app_user", "phone IS NOT NULL OR email IS NOT NULL OR guest OR status = 'deleted'"
    )
    op.create_check_constraint(
        op.f("ck_app_user_guest"), "app_user", "NOT guest OR (phone IS NULL AND email IS NULL AND role = 'rider')"
    )
    op.create_index("ix_app_user_guest", "app_user", ["created_at"], postgresql_where=sa.text("guest"))
    for table, column in _ASKED:
        where = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_{table}_{column}", table, [column], postgresql_where=where)


def downgrade() -> None:
    """Guests become deleted accounts: there is no other way to have neither phone nor e-mail address."""
    for table, column in reversed(_ASKED):
        op.drop_index(f"ix_{table}_{column}", table)
    op.drop_index("ix_app_user_guest", "app_user")
    op.drop_constraint(op.f("ck_app_user_guest"), "app_user", type_="check")
    op.execute("UPDATE app_user SET status = 'deleted' WHERE guest")
    op.drop_constraint(op.f(_REACHABLE), "app_user", type_="check")
    op.create_check_constraint(
        op.f(_REACHABLE), "app_user", "phone IS NOT NULL OR email IS NOT NULL OR status = 'deleted'"
    )
    op.drop_column("app_user", "guest")
