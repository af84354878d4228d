"""What cabinets tell: that a bank can be given where they tell no charge, and how warm they are themselves."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_63"
down_revision: str | None = "20261125_70"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("power_bank", sa.Column("ready", sa.Boolean(), nullable=True))
    op.add_column("station", sa.Column("temperature_c", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("station", "temperature_c")
    op.drop_column("power_bank", "ready")
