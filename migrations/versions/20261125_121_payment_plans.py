"""What pays for a rental: points, wallet, card, or several."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_121"
down_revision: str | None = "20261125_120"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("rental", sa.Column("pay", sa.String(8), server_default="wallet", nullable=False))
    op.add_column("rental", sa.Column("points_max_minor", sa.BigInteger(), server_default="0", nullable=True))
    op.execute("UPDATE rental SET pay = 'card' WHERE intent_id IS NOT NULL")
    op.create_check_constraint(
        op.f("ck_rental_pay"),
        "rental",
        "CASE pay WHEN 'wallet' THEN coalesce(points_max_minor, -1) = 0 WHEN 'points' THEN points_max_minor IS NULL"
        " ELSE coalesce(points_max_minor, 0) >= 0 END",
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_rental_pay"), "rental", type_="check")
    op.drop_column("rental", "points_max_minor")
    op.drop_column("rental", "pay")
