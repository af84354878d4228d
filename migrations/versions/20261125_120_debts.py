"""Debts of riders: what a rental left unpaid, the tries to collect it, and what operators gave up."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_120"
down_revision: str | None = "20261125_115"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# A rental and its debt say the same when a transaction ends, whatever wrote either.
SAME = """
CREATE FUNCTION debt_is_the_rentals() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    about uuid;
    due bigint;
    given_up bigint;
    open bigint;
    written_off bigint;
BEGIN
    IF TG_TABLE_NAME = 'debt' THEN about := NEW.rental_id; ELSE about := NEW.id; END IF;
    SELECT due_minor, written_off_minor INTO due, given_up FROM rental WHERE id = about;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT open_minor, written_off_minor INTO open, written_off FROM debt WHERE rental_id = about;
    IF coalesce(open, 0) <> due OR coalesce(written_off, 0) <> given_up THEN
        RAISE EXCEPTION 'rental % owes %, its debt says %', about, due, coalesce(open, 0)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_debt_rental';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER debt_is_the_rentals AFTER INSERT OR UPDATE ON debt
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION debt_is_the_rentals();
CREATE CONSTRAINT TRIGGER rental_is_the_debts AFTER UPDATE ON rental
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.due_minor IS DISTINCT FROM OLD.due_minor OR NEW.written_off_minor IS DISTINCT FROM OLD.written_off_minor)
    EXECUTE FUNCTION debt_is_the_rentals();
"""

# What was asked for stays as it was asked for, and what was decided stays decided; a try that ended stays ended.
GUARD = """
CREATE FUNCTION debt_write_off_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    decision text[] := ARRAY['state', 'decided_by', 'decided_at', 'note', 'transfer_id'];
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.state = 'pending' AND to_jsonb(NEW) - decision = to_jsonb(OLD) - decision THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a write-off is decided once and never changed'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_debt_write_off_immutable';
END $$;
CREATE TRIGGER debt_write_off_guard BEFORE UPDATE OR DELETE ON debt_write_off
    FOR EACH ROW EXECUTE FUNCTION debt_write_off_guard();
CREATE FUNCTION debt_collection_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ending text[] := ARRAY['ended_at', 'outcome'];
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.ended_at IS NULL AND to_jsonb(NEW) - ending = to_jsonb(OLD) - ending THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a try to collect a debt ends once and never changes'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_debt_collection_immutable';
END $$;
CREATE TRIGGER debt_collection_guard BEFORE UPDATE OR DELETE ON debt_collection
    FOR EACH ROW EXECUTE FUNCTION debt_collection_guard();
"""

# What is owed already: booked now as it is booked from now on. No card is tried for it by itself.
BACKFILL = """
INSERT INTO ledger_account (id, kind, currency, normal_side, overdraft_allowed, created_at)
SELECT gen_random_uuid(), 'receivable', currency, 'debit', true, now()
  FROM (SELECT DISTINCT currency FROM rental WHERE due_minor > 0) AS owed;
INSERT INTO debt (id, user_id, rental_id, currency, amount_minor, paid_minor, reduced_minor, written_off_minor,
                  open_minor, state, tries, incurred_at, updated_at)
SELECT gen_random_uuid(), user_id, id, currency, due_minor, 0, 0, 0, due_minor, 'open', 0,
       coalesce(closed_at, requested_at), now()
  FROM rental WHERE due_minor > 0;
INSERT INTO ledger_transfer (id, debit_account_id, credit_account_id, amount_minor, posted_minor, currency, kind,
                             state, idempotency_key, rental_id, created_at, settled_at)
SELECT gen_random_uuid(), owed.id, earned.id, d.amount_minor, d.amount_minor, d.currency, 'debt', 'posted',
       'debt:' || d.id || ':incurred:' || d.amount_minor, d.rental_id, now(), now()
  FROM debt d
  JOIN ledger_account owed ON owed.kind = 'receivable' AND owed.currency = d.currency
  JOIN ledger_account earned ON earned.kind = 'revenue' AND earned.currency = d.currency AND earned.owner_id IS NULL;
SET CONSTRAINTS ALL IMMEDIATE;
SET CONSTRAINTS ALL DEFERRED;
"""


def upgrade() -> None:
    op.add_column("rental", sa.Column("written_off_minor", sa.BigInteger(), server_default="0", nullable=False))
    op.drop_constraint(op.f("ck_rental_amounts"), "rental", type_="check")
    op.create_check_constraint(
        op.f("ck_rental_amounts"), "rental", "charged_minor >= 0 AND due_minor >= 0 AND written_off_minor >= 0"
    )
    op.drop_index("uq_payment_intent_rental", table_name="payment_intent")
    op.create_index(
        "uq_payment_intent_rental", "payment_intent", ["rental_id"], unique=True,
        postgresql_where=sa.text("rental_id IS NOT NULL AND purpose = 'rental'"),
    )  # fmt: skip
    op.create_index(
        "ix_payment_intent_rental", "payment_intent", ["rental_id"],
        postgresql_where=sa.text("rental_id IS NOT NULL"),
    )  # fmt: skip
    _debt()
    _collection()
    _write_off()
    op.execute(SAME)
    op.execute(GUARD)
    op.execute(BACKFILL)


def _debt() -> None:
    op.create_table(
        "debt",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("rental_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("paid_minor", sa.BigInteger(), nullable=False),
        sa.Column("reduced_minor", sa.BigInteger(), nullable=False),
        sa.Column("written_off_minor", sa.BigInteger(), nullable=False),
        sa.Column("open_minor", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.SmallInteger(), nullable=False),
        sa.Column("try_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("incurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "amount_minor > 0 AND paid_minor >= 0 AND reduced_minor >= 0 AND written_off_minor >= 0 AND tries >= 0",
            name=op.f("ck_debt_amounts"),
        ),
        sa.CheckConstraint(
            "open_minor >= 0 AND open_minor = amount_minor - paid_minor - reduced_minor - written_off_minor",
            name=op.f("ck_debt_open"),
        ),
        sa.CheckConstraint("(state = 'open') = (open_minor > 0)", name=op.f("ck_debt_state")),
        sa.CheckConstraint("(state = 'open') = (closed_at IS NULL)", name=op.f("ck_debt_closed")),
        sa.CheckConstraint("try_at IS NULL OR state = 'open'", name=op.f("ck_debt_try")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_debt_user_id_app_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_debt")),
        sa.UniqueConstraint("rental_id", name=op.f("uq_debt_rental_id")),
    )
    op.create_index(op.f("ix_debt_user_id_id"), "debt", ["user_id", "id"])
    op.create_index("ix_debt_try", "debt", ["try_at"], postgresql_where=sa.text("try_at IS NOT NULL"))


def _collection() -> None:
    op.create_table(
        "debt_collection",
        sa.Column("debt_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.SmallInteger(), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("by_rider", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(64), nullable=True),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_debt_collection_amount")),
        sa.CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name=op.f("ck_debt_collection_ended")),
        sa.ForeignKeyConstraint(["debt_id"], ["debt.id"], name=op.f("fk_debt_collection_debt_id_debt")),
        sa.ForeignKeyConstraint(
            ["intent_id"], ["payment_intent.id"], name=op.f("fk_debt_collection_intent_id_payment_intent")
        ),
        sa.PrimaryKeyConstraint("debt_id", "number", name=op.f("pk_debt_collection")),
        sa.UniqueConstraint("intent_id", name=op.f("uq_debt_collection_intent_id")),
    )
    op.create_index(
        "uq_debt_collection_running", "debt_collection", ["debt_id"], unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )  # fmt: skip


def _write_off() -> None:
    op.create_table(
        "debt_write_off",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("debt_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("reason", sa.String(300), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("limit_minor", sa.BigInteger(), nullable=False),
        sa.Column("counted_minor", sa.BigInteger(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.String(300), nullable=True),
        sa.Column("transfer_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("amount_minor > 0", name=op.f("ck_debt_write_off_amount")),
        sa.CheckConstraint("counted_minor >= amount_minor", name=op.f("ck_debt_write_off_counted")),
        sa.CheckConstraint(
            "state <> 'applied' OR counted_minor <= limit_minor"
            " OR decided_by IS NOT NULL AND decided_by <> requested_by",
            name=op.f("ck_debt_write_off_four_eyes"),
        ),
        sa.CheckConstraint("(state = 'applied') = (transfer_id IS NOT NULL)", name=op.f("ck_debt_write_off_transfer")),
        sa.CheckConstraint("(state = 'pending') = (decided_at IS NULL)", name=op.f("ck_debt_write_off_decided")),
        sa.ForeignKeyConstraint(["debt_id"], ["debt.id"], name=op.f("fk_debt_write_off_debt_id_debt")),
        sa.ForeignKeyConstraint(["user_id"], ["app_user.id"], name=op.f("fk_debt_write_off_user_id_app_user")),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["app_user.id"], name=op.f("fk_debt_write_off_requested_by_app_user")
        ),
        sa.ForeignKeyConstraint(["decided_by"], ["app_user.id"], name=op.f("fk_debt_write_off_decided_by_app_user")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfer.id"], name=op.f("fk_debt_write_off_transfer_id_ledger_transfer")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_debt_write_off")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_debt_write_off_transfer_id")),
    )
    op.create_index(op.f("ix_debt_write_off_debt_id"), "debt_write_off", ["debt_id"])
    op.create_index(op.f("ix_debt_write_off_user_id_requested_at"), "debt_write_off", ["user_id", "requested_at"])
    op.create_index(
        "uq_debt_write_off_pending", "debt_write_off", ["debt_id"], unique=True,
        postgresql_where=sa.text("state = 'pending'"),
    )  # fmt: skip


def downgrade() -> None:
    """The bookings stay: a ledger is never rewritten."""
    op.execute("DROP TRIGGER rental_is_the_debts ON rental")
    op.drop_table("debt_write_off")
    op.drop_table("debt_collection")
    op.drop_table("debt")
    for function in ("debt_is_the_rentals", "debt_write_off_guard", "debt_collection_guard"):
        op.execute(f"DROP FUNCTION {function}()")
    op.drop_index("ix_payment_intent_rental", table_name="payment_intent")
    op.drop_index("uq_payment_intent_rental", table_name="payment_intent")
    op.create_index(
        "uq_payment_intent_rental", "payment_intent", ["rental_id"], unique=True,
        postgresql_where=sa.text("rental_id IS NOT NULL"),
    )  # fmt: skip
    op.drop_constraint(op.f("ck_rental_amounts"), "rental", type_="check")
    op.create_check_constraint(op.f("ck_rental_amounts"), "rental", "charged_minor >= 0 AND due_minor >= 0")
    op.drop_column("rental", "written_off_minor")
