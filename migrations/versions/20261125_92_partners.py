"""Partners: who they are, their stations, what was agreed, what they earned, what they were paid."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261125_92"
down_revision: str | None = "20261125_88"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Rentals of last year count by the agreement that held then.
GUARD = """
CREATE FUNCTION revenue_agreement_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - 'valid_to' = to_jsonb(OLD) - 'valid_to' THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'agreement % never changes: another one follows it', OLD.id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_revenue_agreement_immutable';
END $$;
CREATE TRIGGER revenue_agreement_guard BEFORE UPDATE OR DELETE ON revenue_agreement
    FOR EACH ROW EXECUTE FUNCTION revenue_agreement_guard();
"""


def upgrade() -> None:
    _partner()
    _member_and_station()
    _agreement()
    _share()
    _payout()
    op.execute(GUARD)


def _partner() -> None:
    op.create_table(
        "partner",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column(
            "parent_kind",
            sa.String(length=16),
            sa.Computed("CASE WHEN parent_id IS NOT NULL THEN 'franchise' END", persisted=True),
            nullable=True,
        ),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("time_zone", sa.String(length=64), server_default="UTC", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind = 'vendor' OR parent_id IS NULL", name=op.f("ck_partner_parent")),
        sa.ForeignKeyConstraint(
            ["parent_id", "parent_kind"], ["partner.id", "partner.kind"], name="fk_partner_parent_id_partner"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partner")),
        sa.UniqueConstraint("id", "kind", name=op.f("uq_partner_id_kind")),
    )
    op.create_index(op.f("ix_partner_parent_id"), "partner", ["parent_id"])


def _member_and_station() -> None:
    op.create_table(
        "partner_member",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("added_by", sa.Uuid(), nullable=True),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["added_by"], ["app_user.id"], name=op.f("fk_partner_member_added_by_app_user")),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_partner_member_partner_id_partner")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_partner_member_user_id_app_user")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_partner_member")),
    )
    op.create_index(op.f("ix_partner_member_partner_id"), "partner_member", ["partner_id"])
    op.create_table(
        "partner_station",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("valid_to >= valid_from", name=op.f("ck_partner_station_validity")),
        postgresql.ExcludeConstraint(
            ("station_id", "="),
            (sa.text("tstzrange(valid_from, valid_to)"), "&&"),
            using="gist",
            name="ex_partner_station_overlap",
        ),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_partner_station_partner_id_partner")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_partner_station_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_partner_station")),
    )
    op.create_index(op.f("ix_partner_station_partner_id"), "partner_station", ["partner_id"])


def _agreement() -> None:
    op.create_table(
        "revenue_agreement",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("basis_points", sa.Integer(), nullable=True),
        sa.Column("fixed_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("service_charge_bp", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_revenue_agreement_currency")),
        sa.CheckConstraint("service_charge_bp BETWEEN 0 AND 10000", name=op.f("ck_revenue_agreement_service_charge")),
        sa.CheckConstraint("valid_to >= valid_from", name=op.f("ck_revenue_agreement_validity")),
        sa.CheckConstraint(
            "kind = 'percent' AND basis_points BETWEEN 0 AND 10000 AND fixed_minor IS NULL"
            " OR kind = 'fixed' AND fixed_minor > 0 AND basis_points IS NULL",
            name=op.f("ck_revenue_agreement_terms"),
        ),
        postgresql.ExcludeConstraint(
            ("partner_id", "="),
            (sa.text("coalesce(station_id, 0)"), "="),
            (sa.text("tstzrange(valid_from, valid_to)"), "&&"),
            using="gist",
            name="ex_revenue_agreement_overlap",
        ),
        sa.ForeignKeyConstraint(["created_by"], ["app_user.id"], name=op.f("fk_revenue_agreement_created_by_app_user")),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_revenue_agreement_partner_id_partner")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_revenue_agreement_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revenue_agreement")),
    )


def _share() -> None:
    op.create_table(
        "revenue_share",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("agreement_id", sa.Uuid(), nullable=False),
        sa.Column("station_id", sa.Integer(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("gross_minor", sa.BigInteger(), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), nullable=False),
        sa.Column("service_charge_minor", sa.BigInteger(), nullable=False),
        sa.Column("net_minor", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("postings", sa.Integer(), server_default="0", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_minor BETWEEN 0 AND net_minor", name=op.f("ck_revenue_share_amount")),
        sa.CheckConstraint(
            "gross_minor >= 0 AND tax_minor >= 0 AND service_charge_minor >= 0", name=op.f("ck_revenue_share_amounts")
        ),
        sa.CheckConstraint(
            "net_minor = gross_minor - tax_minor - service_charge_minor", name=op.f("ck_revenue_share_net")
        ),
        sa.ForeignKeyConstraint(
            ["agreement_id"], ["revenue_agreement.id"], name=op.f("fk_revenue_share_agreement_id_revenue_agreement")
        ),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_revenue_share_partner_id_partner")),
        sa.ForeignKeyConstraint(["rental_id"], ["rental.id"], name=op.f("fk_revenue_share_rental_id_rental")),
        sa.ForeignKeyConstraint(["station_id"], ["station.id"], name=op.f("fk_revenue_share_station_id_station")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revenue_share")),
        sa.UniqueConstraint("rental_id", "partner_id", name=op.f("uq_revenue_share_rental_id_partner_id")),
    )
    op.create_index(op.f("ix_revenue_share_partner_id_id"), "revenue_share", ["partner_id", "id"])
    op.create_index(op.f("ix_revenue_share_partner_id_at"), "revenue_share", ["partner_id", "at"])


def _payout() -> None:
    op.create_table(
        "payout_request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("partner_id", sa.Uuid(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("hold_transfer_id", sa.Uuid(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reference", sa.String(length=100), nullable=True),
        sa.Column("reason", sa.String(length=300), nullable=True),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_payout_request_amount")),
        sa.CheckConstraint("decided_by <> requested_by", name=op.f("ck_payout_request_four_eyes")),
        sa.CheckConstraint(
            "state NOT IN ('approved', 'processing', 'completed') OR decided_by IS NOT NULL",
            name=op.f("ck_payout_request_decided"),
        ),
        sa.CheckConstraint("state <> 'completed' OR reference IS NOT NULL", name=op.f("ck_payout_request_reference")),
        sa.CheckConstraint(
            "(state IN ('completed', 'rejected', 'cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_payout_request_finished"),
        ),
        sa.ForeignKeyConstraint(["decided_by"], ["app_user.id"], name=op.f("fk_payout_request_decided_by_app_user")),
        sa.ForeignKeyConstraint(
            ["hold_transfer_id"],
            ["ledger_transfer.id"],
            name=op.f("fk_payout_request_hold_transfer_id_ledger_transfer"),
        ),
        sa.ForeignKeyConstraint(["partner_id"], ["partner.id"], name=op.f("fk_payout_request_partner_id_partner")),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["app_user.id"], name=op.f("fk_payout_request_requested_by_app_user")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_request")),
        sa.UniqueConstraint("hold_transfer_id", name=op.f("uq_payout_request_hold_transfer_id")),
        sa.UniqueConstraint("reference", name=op.f("uq_payout_request_reference")),
    )
    op.create_index(op.f("ix_payout_request_partner_id_id"), "payout_request", ["partner_id", "id"])


def downgrade() -> None:
    for table in (
        "payout_request", "revenue_share", "revenue_agreement", "partner_station", "partner_member", "partner",
    ):  # fmt: skip
        op.drop_table(table)
    op.execute("DROP FUNCTION revenue_agreement_guard()")
