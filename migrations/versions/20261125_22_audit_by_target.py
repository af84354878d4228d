"""What was done to one station, slot or bank is asked for by its page."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261125_22"
down_revision: str | None = "20261125_95"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(op.f("ix_user_audit_log_target_at"), "user_audit_log", ["target", "at"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_user_audit_log_target_at"), table_name="user_audit_log")
