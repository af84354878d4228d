"""The card that stands for a rental."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_84"
down_revision: str | None = "20261125_83"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("rental", sa.Column("intent_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("fk_rental_intent_id_payment_intent"), "rental", "payment_intent", ["intent_id"], ["id"])


def downgrade() -> None:
    op.drop_constraint(op.f("fk_rental_intent_id_payment_intent"), "rental", type_="foreignkey")
    op.drop_column("rental", "intent_id")
