"""The ledger's own rules, held by the database: balanced, immutable, balances kept in the same transaction."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261123_08"
down_revision: str | None = "20261123_07"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Riders' accounts move at once, under row locks taken in the order of their ids, so that two transfers between the same
# accounts in opposite directions cannot deadlock. NO KEY UPDATE, because the foreign keys of the row just inserted have
# taken KEY SHARE on the same accounts: two transfers that both asked for more would wait for each other for ever.
APPLY = """
CREATE FUNCTION ledger_transfer_apply() RETURNS trigger LANGUAGE plpgsql AS $$
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

# The house's few accounts are in every rider's transaction. Their totals move when it commits, so that nobody queues
# for the revenue row while somebody else's transaction is still at work; behind one lock, so that the order in which a
# transaction met them cannot matter. They have no limit to check and no pending totals. Decision 0020.
APPLY_HOUSE = """
CREATE FUNCTION ledger_transfer_apply_house() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM ledger_account
                WHERE id IN (NEW.debit_account_id, NEW.credit_account_id) AND owner_id IS NULL) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('ledger_account.house', 0));
        UPDATE ledger_account SET debits_posted = debits_posted + NEW.posted_minor
         WHERE id = NEW.debit_account_id AND owner_id IS NULL;
        UPDATE ledger_account SET credits_posted = credits_posted + NEW.posted_minor
         WHERE id = NEW.credit_account_id AND owner_id IS NULL;
    END IF;
    RETURN NULL;
END $$;
"""

GUARD = """
CREATE FUNCTION ledger_transfer_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.state = 'voided' OR NEW.state = 'posted' AND NEW.posted_minor IS DISTINCT FROM NEW.amount_minor THEN
            RAISE EXCEPTION 'transfer % is born voided, or posted in part', NEW.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_transfer_birth';
        END IF;
        IF EXISTS (SELECT 1 FROM ledger_account
                    WHERE id IN (NEW.debit_account_id, NEW.credit_account_id) AND currency <> NEW.currency) THEN
            RAISE EXCEPTION 'transfer % is in %, its accounts are not', NEW.id, NEW.currency
                USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_transfer_currency';
        END IF;
        RETURN NEW;
    END IF;
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION 'ledger transfers are never deleted'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_transfer_immutable';
    END IF;
    IF OLD.state <> 'pending' OR NEW.state NOT IN ('posted', 'voided')
       OR to_jsonb(NEW) - ARRAY['state', 'posted_minor', 'settled_at']
          IS DISTINCT FROM to_jsonb(OLD) - ARRAY['state', 'posted_minor', 'settled_at'] THEN
        RAISE EXCEPTION 'ledger transfer % is %: it can only go from pending to posted or voided', OLD.id, OLD.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_transfer_immutable';
    END IF;
    RETURN NEW;
END $$;
"""

# pg_trigger_depth() > 1: the change comes out of a trigger, and ledger_transfer_apply* are the only ones that make it.
ACCOUNT_GUARD = """
CREATE FUNCTION ledger_account_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    totals text[] := ARRAY['debits_posted', 'credits_posted', 'debits_pending', 'credits_pending'];
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

TRIGGERS = """
CREATE TRIGGER ledger_transfer_guard BEFORE INSERT OR UPDATE OR DELETE ON ledger_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger_transfer_guard();
CREATE TRIGGER ledger_transfer_keep BEFORE TRUNCATE ON ledger_transfer
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_transfer_guard();
CREATE TRIGGER ledger_transfer_apply AFTER INSERT OR UPDATE ON ledger_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger_transfer_apply();
CREATE CONSTRAINT TRIGGER ledger_transfer_apply_house AFTER INSERT OR UPDATE ON ledger_transfer
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.state = 'posted') EXECUTE FUNCTION ledger_transfer_apply_house();
CREATE TRIGGER ledger_account_guard BEFORE INSERT OR UPDATE OR DELETE ON ledger_account
    FOR EACH ROW EXECUTE FUNCTION ledger_account_guard();
CREATE TRIGGER ledger_account_keep BEFORE TRUNCATE ON ledger_account
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_account_guard();
"""

#: Rows that record what happened are append-only, whatever the code does.
APPEND_ONLY = ("rental_event", "power_bank_movement", "station_status_history", "user_audit_log")

APPEND_ONLY_GUARD = """
CREATE FUNCTION append_only_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_append_only';
END $$;
"""


def upgrade() -> None:
    for statement in (APPLY, APPLY_HOUSE, GUARD, ACCOUNT_GUARD, TRIGGERS, APPEND_ONLY_GUARD):
        op.execute(statement)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION append_only_guard()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_keep BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION append_only_guard()"
        )


def downgrade() -> None:
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER {table}_keep ON {table}")
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    op.execute("DROP FUNCTION append_only_guard()")
    for trigger, table in (
        ("ledger_transfer_guard", "ledger_transfer"),
        ("ledger_transfer_keep", "ledger_transfer"),
        ("ledger_transfer_apply", "ledger_transfer"),
        ("ledger_transfer_apply_house", "ledger_transfer"),
        ("ledger_account_guard", "ledger_account"),
        ("ledger_account_keep", "ledger_account"),
    ):
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    for function in (
        "ledger_transfer_guard", "ledger_transfer_apply", "ledger_transfer_apply_house", "ledger_account_guard",
    ):  # fmt: skip
        op.execute(f"DROP FUNCTION {function}()")
