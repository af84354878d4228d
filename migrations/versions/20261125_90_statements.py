"""Statements: a line with its balance for every move of an owned account; partners own accounts; bonus is not cash."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "20261125_90"
down_revision: str | None = "20261125_80"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# As in migration 08, and: the line of the statement; a payout that is asked for cannot overdraw a partner's account,
# which otherwise may owe, because a refund takes back a share that is paid out already.
APPLY = """
CREATE OR REPLACE FUNCTION ledger_transfer_apply() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    pending bigint := 0;
    posted bigint := coalesce(NEW.posted_minor, 0);
    balance bigint;
    available bigint;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        pending := -OLD.amount_minor;
    ELSIF NEW.state = 'pending' THEN
        pending := NEW.amount_minor;
    END IF;
    PERFORM 1 FROM ledger_account
      WHERE id IN (NEW.debit_account_id, NEW.credit_account_id) AND owner_id IS NOT NULL
      ORDER BY id FOR NO KEY UPDATE;
    UPDATE ledger_account SET debits_posted = debits_posted + posted, debits_pending = debits_pending + pending
     WHERE id = NEW.debit_account_id AND owner_id IS NOT NULL
     RETURNING credits_posted - debits_posted, credits_posted - debits_posted - debits_pending
          INTO balance, available;
    IF FOUND AND posted > 0 THEN
        INSERT INTO wallet_transaction (account_id, transfer_id, amount_minor, balance_minor, at)
        VALUES (NEW.debit_account_id, NEW.id, -posted, balance, NEW.settled_at);
    END IF;
    IF TG_OP = 'INSERT' AND NEW.kind = 'partner_payout' AND available < 0 THEN
        RAISE EXCEPTION 'transfer % pays out more than there is', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_account_no_overdraft';
    END IF;
    UPDATE ledger_account SET credits_posted = credits_posted + posted, credits_pending = credits_pending + pending
     WHERE id = NEW.credit_account_id AND owner_id IS NOT NULL
     RETURNING credits_posted - debits_posted INTO balance;
    IF FOUND AND posted > 0 THEN
        INSERT INTO wallet_transaction (account_id, transfer_id, amount_minor, balance_minor, at)
        VALUES (NEW.credit_account_id, NEW.id, posted, balance, NEW.settled_at);
    END IF;
    RETURN NULL;
END $$;
"""

APPLY_BEFORE = """
CREATE OR REPLACE FUNCTION ledger_transfer_apply() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    pending bigint := 0;
    posted bigint := coalesce(NEW.posted_minor, 0);
BEGIN
    IF TG_OP = 'UPDATE' THEN
        pending := -OLD.amount_minor;
    ELSIF NEW.state = 'pending' THEN
        pending := NEW.amount_minor;
    END IF;
    PERFORM 1 FROM ledger_account
      WHERE id IN (NEW.debit_account_id, NEW.credit_account_id) AND owner_id IS NOT NULL
      ORDER BY id FOR NO KEY UPDATE;
    UPDATE ledger_account SET debits_posted = debits_posted + posted, debits_pending = debits_pending + pending
     WHERE id = NEW.debit_account_id AND owner_id IS NOT NULL;
    UPDATE ledger_account SET credits_posted = credits_posted + posted, credits_pending = credits_pending + pending
     WHERE id = NEW.credit_account_id AND owner_id IS NOT NULL;
    RETURN NULL;
END $$;
"""

# Points money was given, not paid in: it pays for rides, may be corrected or expire, and becomes nobody's cash.
BONUS = """
CREATE FUNCTION ledger_bonus_is_not_cash() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM ledger_account WHERE id = NEW.debit_account_id AND kind = 'bonus')
       AND NOT EXISTS (SELECT 1 FROM ledger_account WHERE id = NEW.credit_account_id AND owner_id IS NULL
                        AND kind IN ('revenue', 'unlock_fees', 'buyout_revenue', 'subscriptions', 'tax',
                                     'adjustments', 'write_off')) THEN
        RAISE EXCEPTION 'transfer % would make cash of points', NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_transfer_bonus';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_transfer_bonus BEFORE INSERT ON ledger_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger_bonus_is_not_cash();
"""

# A generated column is not there yet in a BEFORE trigger: the comparison leaves it out.
ACCOUNT_GUARD = """
CREATE OR REPLACE FUNCTION ledger_account_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    totals text[] := ARRAY['debits_posted', 'credits_posted', 'debits_pending', 'credits_pending'{generated}];
BEGIN
    IF TG_OP = 'UPDATE' AND pg_trigger_depth() > 1 AND to_jsonb(NEW) - totals = to_jsonb(OLD) - totals THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' AND NEW.debits_posted = 0 AND NEW.credits_posted = 0
       AND NEW.debits_pending = 0 AND NEW.credits_pending = 0 THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'ledger accounts change through transfers only'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_account_immutable';
END $$;
"""

# Lines come out of ledger_transfer_apply only.
LINES = """
CREATE TRIGGER wallet_transaction_append_only BEFORE UPDATE OR DELETE ON wallet_transaction
    FOR EACH ROW EXECUTE FUNCTION append_only_guard();
CREATE TRIGGER wallet_transaction_keep BEFORE TRUNCATE ON wallet_transaction
    FOR EACH STATEMENT EXECUTE FUNCTION append_only_guard();
CREATE TRIGGER wallet_transaction_by_hand BEFORE INSERT ON wallet_transaction
    FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION append_only_guard();
"""

BACKFILL = """
INSERT INTO wallet_transaction (account_id, transfer_id, amount_minor, balance_minor, at)
SELECT account, side.id, amount, sum(amount) OVER (PARTITION BY account ORDER BY settled_at, side.id), settled_at
  FROM (SELECT t.debit_account_id AS account, t.id, -t.posted_minor AS amount, t.settled_at FROM ledger_transfer t
         WHERE t.state = 'posted'
        UNION ALL
        SELECT t.credit_account_id, t.id, t.posted_minor, t.settled_at FROM ledger_transfer t
         WHERE t.state = 'posted') AS side
  JOIN ledger_account a ON a.id = side.account AND a.owner_id IS NOT NULL
 ORDER BY settled_at, side.id
"""


def upgrade() -> None:
    op.drop_constraint("fk_ledger_account_owner_id_app_user", "ledger_account", type_="foreignkey")
    op.add_column(
        "ledger_account",
        sa.Column(
            "rider_id",
            sa.Uuid(),
            sa.Computed("CASE WHEN kind IN ('wallet', 'bonus') THEN owner_id END", persisted=True),
            nullable=True,
        ),
    )
    op.create_foreign_key(
        op.f("fk_ledger_account_rider_id_app_user"), "ledger_account", "app_user", ["rider_id"], ["id"]
    )
    _no_house_payable()
    op.create_check_constraint(
        op.f("ck_ledger_account_partners_money"),
        "ledger_account",
        "kind <> 'partner_payable' OR owner_id IS NOT NULL AND normal_side = 'credit'",
    )
    op.create_index(
        "ix_ledger_transfer_pending",
        "ledger_transfer",
        ["debit_account_id", "id"],
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "wallet_transaction",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("balance_minor", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["ledger_account.id"], name=op.f("fk_wallet_transaction_account_id_ledger_account")
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfer.id"], name=op.f("fk_wallet_transaction_transfer_id_ledger_transfer")
        ),
        sa.PrimaryKeyConstraint("account_id", "id", name=op.f("pk_wallet_transaction")),
    )
    op.execute(BACKFILL)
    for statement in (APPLY, BONUS, ACCOUNT_GUARD.format(generated=", 'rider_id'"), LINES):
        op.execute(statement)


def _no_house_payable() -> None:
    """What partners are owed is theirs; the house's account of that kind was never used."""
    op.execute("ALTER TABLE ledger_account DISABLE TRIGGER ledger_account_guard")
    op.execute("DELETE FROM ledger_account WHERE kind = 'partner_payable' AND owner_id IS NULL")
    op.execute("ALTER TABLE ledger_account ENABLE TRIGGER ledger_account_guard")


def downgrade() -> None:
    op.execute("DROP TRIGGER ledger_transfer_bonus ON ledger_transfer")
    op.execute("DROP FUNCTION ledger_bonus_is_not_cash()")
    op.execute(APPLY_BEFORE)
    op.execute(ACCOUNT_GUARD.format(generated=""))
    op.drop_table("wallet_transaction")
    op.drop_index(
        "ix_ledger_transfer_pending", table_name="ledger_transfer", postgresql_where=sa.text("state = 'pending'")
    )
    op.drop_constraint(op.f("ck_ledger_account_partners_money"), "ledger_account", type_="check")
    op.drop_constraint(op.f("fk_ledger_account_rider_id_app_user"), "ledger_account", type_="foreignkey")
    op.drop_column("ledger_account", "rider_id")
    op.create_foreign_key(
        op.f("fk_ledger_account_owner_id_app_user"), "ledger_account", "app_user", ["owner_id"], ["id"]
    )
