"""What riders say of returns, and what they report."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_86"
down_revision: str | None = "20261125_65"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _claims()
    _issues()


def _claims() -> None:
    states = sa.Enum("pending", "confirmed", "refuted", "overtaken", name="claimstate", native_enum=False, length=16)
    op.create_table(
        "return_claim",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("slot_number", sa.Integer(), nullable=False),
        sa.Column("state", states, nullable=False),
        sa.Column("pause_id", sa.Uuid(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.String(length=300), nullable=True),
        sa.CheckConstraint("(state = 'pending') = (decided_at IS NULL)", name=op.f("ck_return_claim_decided")),
        sa.ForeignKeyConstraint(["pause_id"], ["rental_pause.id"], name=op.f("fk_return_claim_pause_id_rental_pause")),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_return_claim_rental_id_rental")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_return_claim_station_id_station")),
        sa.ForeignKeyConstraint(
            ["station_id", "slot_number"], ["station_slot.station_id", "station_slot.number"],
            name="fk_return_claim_slot",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_return_claim")),
    )  # fmt: skip
    pending = sa.text("state = 'pending'")
    op.create_index("uq_return_claim_pending", "return_claim", ["rental_id"], unique=True, postgresql_where=pending)
    op.create_index("ix_return_claim_station", "return_claim", ["station_id"], postgresql_where=pending)
    op.create_index(op.f("ix_return_claim_rental_id"), "return_claim", ["rental_id"])


def _issues() -> None:
    kinds = sa.Enum(
        "damaged", "lost", "not_charging", "return", name="issuekind", native_enum=False, length=16
    )  # fmt: skip
    op.create_table(
        "rental_issue",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", kinds, nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=True),
        sa.Column("note", sa.String(length=500), nullable=True),
        sa.Column(
            "state", sa.Enum("open", "resolved", name="issuestate", native_enum=False, length=16), nullable=False
        ),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolution", sa.String(length=300), nullable=True),
        sa.CheckConstraint("(state = 'open') = (resolved_at IS NULL)", name=op.f("ck_rental_issue_resolved")),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_rental_issue_rental_id_rental")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_rental_issue_station_id_station")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_rental_issue_user_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rental_issue")),
    )
    op.create_index(
        "uq_rental_issue_open", "rental_issue", ["rental_id", "kind"], unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )  # fmt: skip
    op.create_index(op.f("ix_rental_issue_state_id"), "rental_issue", ["state", "id"])


def downgrade() -> None:
    op.drop_table("rental_issue")
    op.drop_table("return_claim")
