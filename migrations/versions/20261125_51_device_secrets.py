"""The secret that a vendor's cabinet shares with the backend, sealed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_51"
down_revision: str | None = "20261125_20"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("device_profile", sa.Column("sealed_secret", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("device_profile", "sealed_secret")
