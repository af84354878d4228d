"""Vendors' cabinets that an operator locked out."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_52"
down_revision: str | None = "20261125_02"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("device_profile", sa.Column("locked_out_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("device_profile", "locked_out_at")
