"""The ledger's own rules, held by the database: balanced, immutable, balances kept in the same transaction."""

from collections.abc import Sequence

from alembic import op

revision: str = "20261123_08"
down_revision: str | None = "20261123_07"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Both accounts are locked in the order of their ids before either balance moves, so two transfers between the same
# accounts in opposite directions cannot deadlock. The house's accounts take no pending totals: a hold on a rider's wallet
# must not make every rider queue for one revenue row.
APPLY = """
CREATE FUNCTION ledger_transfer_apply() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong integer;
    pending bigint := 0;
    posted bigint := 0;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT count(*) INTO wrong FROM ledger_account
         WHERE id IN (NEW.debit_account_id, NEW.credit_account_id) AND currency <> NEW.currency;
        IF wrong > 0 THEN
            RAISE EXCEPTION 'transfer % is in %, its accounts are not', NEW.id, NEW.currency
                USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_transfer_currency';
        END IF;
        IF NEW.state = 'voided' THEN
            RAISE EXCEPTION 'transfer % is born voided', NEW.id
                USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_transfer_birth';
        END IF;
        IF NEW.state = 'pending' THEN pending := NEW.amount_minor; ELSE posted := NEW.posted_minor; END IF;
    ELSE
        pending := -OLD.amount_minor;
        IF NEW.state = 'posted' THEN posted := NEW.posted_minor; END IF;
    END IF;
    IF pending <> 0 AND posted = 0 THEN
        PERFORM 1 FROM ledger_account
          WHERE id IN (NEW.debit_account_id, NEW.credit_account_id) AND owner_id IS NOT NULL ORDER BY id FOR UPDATE;
    ELSE
        PERFORM 1 FROM ledger_account
          WHERE id IN (NEW.debit_account_id, NEW.credit_account_id) ORDER BY id FOR UPDATE;
    END IF;
    UPDATE ledger_account
       SET debits_posted = debits_posted + posted,
           debits_pending = debits_pending + CASE WHEN owner_id IS NULL THEN 0 ELSE pending END
     WHERE id = NEW.debit_account_id AND (posted <> 0 OR owner_id IS NOT NULL);
    UPDATE ledger_account
       SET credits_posted = credits_posted + posted,
           credits_pending = credits_pending + CASE WHEN owner_id IS NULL THEN 0 ELSE pending END
     WHERE id = NEW.credit_account_id AND (posted <> 0 OR owner_id IS NOT NULL);
    RETURN NULL;
END $$;
"""

GUARD = """
CREATE FUNCTION ledger_transfer_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        RAISE EXCEPTION 'ledger transfers are never deleted'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_transfer_immutable';
    END IF;
    IF OLD.state <> 'pending' OR NEW.state NOT IN ('posted', 'voided')
       OR (NEW.id, NEW.debit_account_id, NEW.credit_account_id, NEW.amount_minor, NEW.currency, NEW.kind,
           NEW.idempotency_key, NEW.created_at)
          IS DISTINCT FROM
          (OLD.id, OLD.debit_account_id, OLD.credit_account_id, OLD.amount_minor, OLD.currency, OLD.kind,
           OLD.idempotency_key, OLD.created_at)
       OR (NEW.rental_id, NEW.intent_id) IS DISTINCT FROM (OLD.rental_id, OLD.intent_id) THEN
        RAISE EXCEPTION 'ledger transfer % is %: it can only go from pending to posted or voided', OLD.id, OLD.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_ledger_transfer_immutable';
    END IF;
    RETURN NEW;
END $$;
"""

ACCOUNT_GUARD = """
CREATE FUNCTION ledger_account_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND pg_trigger_depth() > 1
       AND (NEW.id, NEW.owner_id, NEW.kind, NEW.currency, NEW.normal_side)
           IS NOT DISTINCT FROM (OLD.id, OLD.owner_id, OLD.kind, OLD.currency, OLD.normal_side) THEN
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
CREATE TRIGGER ledger_transfer_guard BEFORE UPDATE OR DELETE ON ledger_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger_transfer_guard();
CREATE TRIGGER ledger_transfer_keep BEFORE TRUNCATE ON ledger_transfer
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_transfer_guard();
CREATE TRIGGER ledger_transfer_apply AFTER INSERT OR UPDATE ON ledger_transfer
    FOR EACH ROW EXECUTE FUNCTION ledger_transfer_apply();
CREATE TRIGGER ledger_account_guard BEFORE INSERT OR UPDATE OR DELETE ON ledger_account
    FOR EACH ROW EXECUTE FUNCTION ledger_account_guard();
"""

#: Rows that record what happened (data-model.md) are append-only, whatever the code does.
APPEND_ONLY = ("rental_event", "power_bank_movement", "station_status_history", "user_audit_log")

APPEND_ONLY_GUARD = """
CREATE FUNCTION append_only_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_append_only';
END $$;
"""


def upgrade() -> None:
    for statement in (APPLY, GUARD, ACCOUNT_GUARD, TRIGGERS, APPEND_ONLY_GUARD):
        op.execute(statement)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION append_only_guard()"
        )


def downgrade() -> None:
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    op.execute("DROP FUNCTION append_only_guard()")
    for trigger, table in (
        ("ledger_transfer_guard", "ledger_transfer"),
        ("ledger_transfer_keep", "ledger_transfer"),
        ("ledger_transfer_apply", "ledger_transfer"),
        ("ledger_account_guard", "ledger_account"),
    ):
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    for function in ("ledger_transfer_guard", "ledger_transfer_apply", "ledger_account_guard"):
        op.execute(f"DROP FUNCTION {function}()")
