"""Subscription plans in versions, subscriptions, their periods and payments, and the free minutes that rentals took."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "20261125_115"
down_revision: str | None = "20261125_130"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

GUARD = """
CREATE FUNCTION subscription_plan_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ends text[] := ARRAY['replaced_at', 'retired_at'];
BEGIN
    IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - ends = to_jsonb(OLD) - ends THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'plan % never changes: an edit is a new version', OLD.code
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_subscription_plan_immutable';
END $$;
CREATE TRIGGER subscription_plan_guard BEFORE UPDATE OR DELETE ON subscription_plan
    FOR EACH ROW EXECUTE FUNCTION subscription_plan_guard();
"""


def upgrade() -> None:
    _plans()
    _subscriptions()
    _periods()
    _attempts()
    _uses()
    op.execute(GUARD)


def _plans() -> None:
    op.create_table(
        "subscription_plan",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column(
            "period_unit",
            sa.Enum("day", "week", "month", name="periodunit", native_enum=False, length=8),
            nullable=False,
        ),
        sa.Column("period_count", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("free_minutes_per_rental", sa.Integer(), nullable=True),
        sa.Column("free_minutes_per_day", sa.Integer(), nullable=True),
        sa.Column("free_minutes_per_period", sa.Integer(), nullable=True),
        sa.Column("discount_bp", sa.Integer(), server_default="0", nullable=False),
        sa.Column("venue_id", sa.Integer(), nullable=True),
        sa.Column("city", sa.String(length=100), nullable=True),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("tax_country", sa.String(length=2), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("code ~ '^[a-z0-9][a-z0-9-]*$'", name=op.f("ck_subscription_plan_code")),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_subscription_plan_currency")),
        sa.CheckConstraint(
            "discount_bp > 0"
            " OR num_nonnulls(free_minutes_per_rental, free_minutes_per_day, free_minutes_per_period) > 0",
            name=op.f("ck_subscription_plan_benefit"),
        ),
        sa.CheckConstraint(
            "free_minutes_per_rental > 0 AND free_minutes_per_day > 0 AND free_minutes_per_period > 0",
            name=op.f("ck_subscription_plan_free_minutes"),
        ),
        sa.CheckConstraint(
            "num_nonnulls(venue_id, coalesce(city, country)) <= 1", name=op.f("ck_subscription_plan_one_scope")
        ),
        sa.CheckConstraint("period_count BETWEEN 1 AND 366", name=op.f("ck_subscription_plan_period")),
        sa.CheckConstraint(
            "price_minor > 0 AND discount_bp BETWEEN 0 AND 10000", name=op.f("ck_subscription_plan_amounts")
        ),
        sa.ForeignKeyConstraint(["country"], ["country.iso_code"], name=op.f("fk_subscription_plan_country_country")),
        sa.ForeignKeyConstraint(
            ["tax_country"], ["country.iso_code"], name=op.f("fk_subscription_plan_tax_country_country")
        ),
        sa.ForeignKeyConstraint(["venue_id"], ["venue.id"], name=op.f("fk_subscription_plan_venue_id_venue")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_plan")),
        sa.UniqueConstraint("code", "version", name=op.f("uq_subscription_plan_code_version")),
    )
    op.create_index(
        "uq_subscription_plan_newest",
        "subscription_plan",
        ["code"],
        unique=True,
        postgresql_where=sa.text("replaced_at IS NULL"),
    )


def _subscriptions() -> None:
    op.create_table(
        "subscription",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "pending",
                "active",
                "past_due",
                "cancelled",
                "expired",
                name="subscriptionstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("plan_code", sa.String(length=32), nullable=False),
        sa.Column("next_plan_code", sa.String(length=32), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("anchor_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("anchor_number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("period_number", sa.Integer(), server_default="0", nullable=False),
        sa.Column("cancel_at_period_end", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("method_id", sa.Uuid(), nullable=True),
        sa.Column("look_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("past_due_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("retries", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("failure_code", sa.String(length=64), nullable=True),
        sa.Column("request_key", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("end_reason", sa.String(length=300), nullable=True),
        sa.CheckConstraint(
            "(state = 'past_due') = (past_due_since IS NOT NULL)", name=op.f("ck_subscription_past_due")
        ),
        sa.CheckConstraint(
            "(state IN ('pending', 'active', 'past_due')) = (ended_at IS NULL)", name=op.f("ck_subscription_ended")
        ),
        sa.CheckConstraint(
            "(state IN ('pending', 'active', 'past_due')) = (look_at IS NOT NULL)", name=op.f("ck_subscription_look_at")
        ),
        sa.CheckConstraint("state <> 'pending' OR period_number = 0", name=op.f("ck_subscription_pending")),
        sa.CheckConstraint(
            "period_number >= anchor_number AND anchor_number >= 0 AND retries >= 0",
            name=op.f("ck_subscription_numbers"),
        ),
        sa.ForeignKeyConstraint(
            ["method_id"], ["payment_method.id"], name=op.f("fk_subscription_method_id_payment_method")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_subscription_user_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription")),
    )
    op.create_index(
        "ix_subscription_look_at",
        "subscription",
        ["look_at"],
        unique=False,
        postgresql_where=sa.text("look_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_subscription_state_id"), "subscription", ["state", "id"], unique=False)
    op.create_index(op.f("ix_subscription_user_id_id"), "subscription", ["user_id", "id"], unique=False)
    op.create_index(
        "uq_subscription_live",
        "subscription",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("state IN ('pending', 'active', 'past_due')"),
    )


def _periods() -> None:
    op.create_table(
        "subscription_period",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column(
            "state", sa.Enum("due", "paid", "unpaid", name="periodstate", native_enum=False, length=8), nullable=False
        ),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("price_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("tax_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("granted_by", sa.Uuid(), nullable=True),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("transfer_id", sa.Uuid(), nullable=True),
        sa.Column("invoice_id", sa.Uuid(), nullable=True),
        sa.Column("intent_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        postgresql.ExcludeConstraint(
            ("subscription_id", "="),
            (sa.text("tstzrange(starts_at, ends_at)"), "&&"),
            where=sa.text("state = 'paid'"),
            using="gist",
            name="ex_subscription_period_overlap",
        ),
        sa.CheckConstraint(
            "(state = 'paid' AND price_minor > 0) = (transfer_id IS NOT NULL AND invoice_id IS NOT NULL)",
            name=op.f("ck_subscription_period_paid"),
        ),
        sa.CheckConstraint("(state = 'paid') = (paid_at IS NOT NULL)", name=op.f("ck_subscription_period_paid_at")),
        sa.CheckConstraint("(price_minor = 0) = (granted_by IS NOT NULL)", name=op.f("ck_subscription_period_granted")),
        sa.CheckConstraint("number >= 1 AND ends_at > starts_at", name=op.f("ck_subscription_period_period")),
        sa.CheckConstraint(
            "price_minor >= 0 AND tax_minor BETWEEN 0 AND price_minor", name=op.f("ck_subscription_period_amounts")
        ),
        sa.CheckConstraint("refunded_minor BETWEEN 0 AND price_minor", name=op.f("ck_subscription_period_refunded")),
        sa.ForeignKeyConstraint(
            ["granted_by"], ["app_user.id"], name=op.f("fk_subscription_period_granted_by_app_user")
        ),
        sa.ForeignKeyConstraint(
            ["intent_id"], ["payment_intent.id"], name=op.f("fk_subscription_period_intent_id_payment_intent")
        ),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoice.id"], name=op.f("fk_subscription_period_invoice_id_invoice")),
        sa.ForeignKeyConstraint(
            ["plan_id"], ["subscription_plan.id"], name=op.f("fk_subscription_period_plan_id_subscription_plan")
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscription.id"], name=op.f("fk_subscription_period_subscription_id_subscription")
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfer.id"], name=op.f("fk_subscription_period_transfer_id_ledger_transfer")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_period")),
        sa.UniqueConstraint("intent_id", name=op.f("uq_subscription_period_intent_id")),
        sa.UniqueConstraint("invoice_id", name=op.f("uq_subscription_period_invoice_id")),
        sa.UniqueConstraint("subscription_id", "number", name=op.f("uq_subscription_period_subscription_id_number")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_subscription_period_transfer_id")),
    )


def _attempts() -> None:
    op.create_table(
        "subscription_attempt",
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("period_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("method_id", sa.Uuid(), nullable=False),
        sa.Column("scheduled", sa.Boolean(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("open", "paid", "failed", "returned", name="attemptstate", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(state = 'open') = (settled_at IS NULL)", name=op.f("ck_subscription_attempt_settled")),
        sa.ForeignKeyConstraint(
            ["intent_id"], ["payment_intent.id"], name=op.f("fk_subscription_attempt_intent_id_payment_intent")
        ),
        sa.ForeignKeyConstraint(
            ["method_id"], ["payment_method.id"], name=op.f("fk_subscription_attempt_method_id_payment_method")
        ),
        sa.ForeignKeyConstraint(
            ["period_id"],
            ["subscription_period.id"],
            name=op.f("fk_subscription_attempt_period_id_subscription_period"),
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscription.id"], name=op.f("fk_subscription_attempt_subscription_id_subscription")
        ),
        sa.PrimaryKeyConstraint("intent_id", name=op.f("pk_subscription_attempt")),
        sa.UniqueConstraint("period_id", "number", name=op.f("uq_subscription_attempt_period_id_number")),
    )
    op.create_index(
        op.f("ix_subscription_attempt_subscription_id"), "subscription_attempt", ["subscription_id"], unique=False
    )
    op.create_index(
        "uq_subscription_attempt_open",
        "subscription_attempt",
        ["period_id"],
        unique=True,
        postgresql_where=sa.text("state = 'open'"),
    )


def _uses() -> None:
    op.create_table(
        "subscription_use",
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("period_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("granted_s", sa.Integer(), nullable=False),
        sa.Column("used_s", sa.Integer(), nullable=True),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(used_s IS NULL) = (settled_at IS NULL)", name=op.f("ck_subscription_use_settled")),
        sa.CheckConstraint(
            "granted_s > 0 AND used_s BETWEEN 0 AND granted_s", name=op.f("ck_subscription_use_seconds")
        ),
        sa.ForeignKeyConstraint(
            ["period_id"], ["subscription_period.id"], name=op.f("fk_subscription_use_period_id_subscription_period")
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscription.id"], name=op.f("fk_subscription_use_subscription_id_subscription")
        ),
        sa.PrimaryKeyConstraint("rental_id", name=op.f("pk_subscription_use")),
    )
    op.create_index(
        op.f("ix_subscription_use_subscription_id_day"), "subscription_use", ["subscription_id", "day"], unique=False
    )


def downgrade() -> None:
    for table in (
        "subscription_use", "subscription_attempt", "subscription_period", "subscription", "subscription_plan",
    ):  # fmt: skip
        op.drop_table(table)
    op.execute("DROP FUNCTION subscription_plan_guard()")
