"""Passwords of vendors' cabinets that an operator entered."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_130"
down_revision: str | None = "20261125_100"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("device_credential", sa.Column("entered", sa.Boolean(), server_default="false", nullable=False))
    op.create_check_constraint(op.f("ck_device_credential_entered"), "device_credential", "NOT (entered AND signs)")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_device_credential_entered"), "device_credential", type_="check")
    op.drop_column("device_credential", "entered")
