"""Photos of banks that riders say are back."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261126_133"
down_revision: str | None = "20261126_132"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "return_photo",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("claim_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("width > 0 AND height > 0 AND length(content) > 0", name=op.f("ck_return_photo_picture")),
        sa.ForeignKeyConstraint(["claim_id"], ["return_claim.id"], name=op.f("fk_return_photo_claim_id_return_claim")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_return_photo")),
        sa.UniqueConstraint("claim_id", "digest", name=op.f("uq_return_photo_claim_id_digest")),
    )
    op.create_index(op.f("ix_return_photo_taken_at"), "return_photo", ["taken_at"])


def downgrade() -> None:
    op.drop_table("return_photo")
