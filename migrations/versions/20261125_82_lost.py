"""Banks that count as lost, and of what riders were reminded."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_82"
down_revision: str | None = "20261125_81"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("tariff", sa.Column("lost_after", sa.Interval(), nullable=True))
    op.add_column("tariff", sa.Column("lost_fee_minor", sa.BigInteger(), server_default="0", nullable=False))
    op.create_check_constraint(op.f("ck_tariff_lost"), "tariff", "lost_fee_minor >= 0 AND lost_after >= interval '0'")
    op.add_column("rental", sa.Column("reminded_of", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("rental", "reminded_of")
    op.drop_constraint(op.f("ck_tariff_lost"), "tariff", type_="check")
    op.drop_column("tariff", "lost_fee_minor")
    op.drop_column("tariff", "lost_after")
