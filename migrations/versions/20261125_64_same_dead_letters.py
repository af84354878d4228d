"""Whether a frame waits among the dead letters already, without reading all of its station's."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_64"
down_revision: str | None = "20261125_63"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "ix_dead_letter_same",
        "dead_letter",
        [sa.text("md5(payload)")],
        postgresql_where=sa.text("state IN ('waiting', 'requested')"),
    )


def downgrade() -> None:
    op.drop_index("ix_dead_letter_same", table_name="dead_letter")
