"""When a bank's charge was told, apart from when it was last sampled."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_100"
down_revision: str | None = "20261125_73"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("power_bank", sa.Column("charge_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE power_bank SET charge_at = sampled_at WHERE charge_pct IS NOT NULL")


def downgrade() -> None:
    op.drop_column("power_bank", "charge_at")
