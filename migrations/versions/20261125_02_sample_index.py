"""`device_sample.received_at` by BRIN: an index that costs an insert nothing, for rows that lie in its order."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261125_02"
down_revision: str | None = "20261125_62"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.drop_index(op.f("ix_device_sample_received_at"), table_name="device_sample")
    op.create_index(op.f("ix_device_sample_received_at"), "device_sample", ["received_at"], postgresql_using="brin")


def downgrade() -> None:
    op.drop_index(op.f("ix_device_sample_received_at"), table_name="device_sample")
    op.create_index(op.f("ix_device_sample_received_at"), "device_sample", ["received_at"], unique=False)
