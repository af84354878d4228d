"""A provider's calls about one payment are found: they are in a rental's trace."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261126_150"
down_revision: str | None = "20261126_155"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE = "payment_webhook"
INDEX = "ix_payment_webhook_provider_reference"


def upgrade() -> None:
    op.create_index(op.f(INDEX), TABLE, ["provider", "reference"])


def downgrade() -> None:
    op.drop_index(op.f(INDEX), table_name=TABLE)
