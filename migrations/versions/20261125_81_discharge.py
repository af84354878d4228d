"""What riders take out of power banks, for their cycles."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_81"
down_revision: str | None = "20261125_71"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("power_bank", sa.Column("discharged_pct", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("rental", sa.Column("discharged_pct", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("rental", "discharged_pct")
    op.drop_column("power_bank", "discharged_pct")
