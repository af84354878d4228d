"""What riders do not agree with, and what was decided."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_87"
down_revision: str | None = "20261125_86"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

RENTAL_STATES = (
    "ejecting", "eject_unknown", "active", "overdue", "completed", "cancelled", "eject_failed", "bought_out",
    "disputed",
)  # fmt: skip


def upgrade() -> None:
    reasons = sa.Enum(
        "not_received", "returned", "broken", "overcharged", "other", name="disputereason", native_enum=False, length=16
    )
    states = sa.Enum(
        "open", "refunded", "partly_refunded", "rejected", name="disputestate", native_enum=False, length=16
    )
    op.create_table(
        "rental_dispute",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("reason", reasons, nullable=False),
        sa.Column("note", sa.String(length=1000), nullable=True),
        sa.Column("state", states, nullable=False),
        sa.Column(
            "rental_state", sa.Enum(*RENTAL_STATES, name="rentalstate", native_enum=False, length=16), nullable=False
        ),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decision", sa.String(length=300), nullable=True),
        sa.Column("refund_minor", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(state = 'open') = (decided_at IS NULL) AND (state = 'open') = (refund_minor IS NULL)"
            " AND (state = 'open') = (decision IS NULL)",
            name=op.f("ck_rental_dispute_decided"),
        ),
        sa.CheckConstraint(
            "CASE state WHEN 'open' THEN true WHEN 'rejected' THEN refund_minor = 0 ELSE refund_minor > 0 END",
            name=op.f("ck_rental_dispute_refund"),
        ),
        sa.ForeignKeyConstraint(["decided_by"], ["app_user.id"], name=op.f("fk_rental_dispute_decided_by_app_user")),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_rental_dispute_rental_id_rental")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_rental_dispute_user_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rental_dispute")),
        sa.UniqueConstraint("rental_id", name=op.f("uq_rental_dispute_rental_id")),
    )
    op.create_index(op.f("ix_rental_dispute_state_id"), "rental_dispute", ["state", "id"])


def downgrade() -> None:
    op.drop_table("rental_dispute")
