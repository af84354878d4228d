"""Which calls of vendors' cabinets may be somebody else's."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_160"
down_revision: str | None = "20261126_140"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    doubt = sa.Enum("connected", "network", name="doubt", native_enum=False, length=16)
    op.add_column("device_call", sa.Column("doubt", doubt, nullable=True))
    op.create_index(
        "ix_device_call_doubted", "device_call", ["received_at"], postgresql_where=sa.text("doubt IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_device_call_doubted", table_name="device_call")
    op.drop_column("device_call", "doubt")
