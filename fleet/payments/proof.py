"""Proof that the books are right: every stored total equals its sum, every currency is zero, every top-up is paid."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from fleet.payments.ledger import apply_house_now
from fleet.payments.models import LedgerProofRun

#: More are not listed; one is already too many.
_LIMIT = 100

# Each check is one statement, so that it sees one state of the books however busy they are.
_CHECKS = {
    "account totals differ from the sums of its transfers": """
        WITH side AS (
            SELECT debit_account_id AS account, coalesce(posted_minor, 0) AS debits, 0::bigint AS credits,
                   CASE state WHEN 'pending' THEN amount_minor ELSE 0 END AS held, 0::bigint AS coming
              FROM ledger_transfer
            UNION ALL
            SELECT credit_account_id, 0, coalesce(posted_minor, 0), 0,
                   CASE state WHEN 'pending' THEN amount_minor ELSE 0 END
              FROM ledger_transfer),
        summed AS (
            SELECT account, sum(debits) AS debits, sum(credits) AS credits, sum(held) AS held, sum(coming) AS coming
              FROM side GROUP BY account)
        SELECT a.id::text || ' (' || a.kind || ' ' || a.currency || ')'
          FROM ledger_account a LEFT JOIN summed s ON s.account = a.id
         WHERE a.debits_posted <> coalesce(s.debits, 0) OR a.credits_posted <> coalesce(s.credits, 0)
            OR a.owner_id IS NOT NULL
               AND (a.debits_pending <> coalesce(s.held, 0) OR a.credits_pending <> coalesce(s.coming, 0))
            OR a.owner_id IS NULL AND (a.debits_pending <> 0 OR a.credits_pending <> 0)""",
    "currency does not sum to zero": """
        SELECT currency FROM ledger_account GROUP BY currency HAVING sum(debits_posted) <> sum(credits_posted)""",
    "statement does not end with the account's balance": """
        SELECT a.id::text FROM ledger_account a
          LEFT JOIN LATERAL (SELECT balance_minor FROM wallet_transaction w WHERE w.account_id = a.id
                              ORDER BY w.id DESC LIMIT 1) AS last ON true
         WHERE a.owner_id IS NOT NULL
           AND coalesce(last.balance_minor, 0) <> a.credits_posted - a.debits_posted""",
    "line of a statement does not follow from the one before it": """
        SELECT account_id::text || ' line ' || id FROM (
            SELECT account_id, id, amount_minor, balance_minor,
                   coalesce(lag(balance_minor) OVER (PARTITION BY account_id ORDER BY id), 0) AS before
              FROM wallet_transaction) AS line
         WHERE balance_minor <> before + amount_minor""",
    "line of a statement is not what its transfer moved": """
        SELECT w.account_id::text || ' line ' || w.id FROM wallet_transaction w
          JOIN ledger_transfer t ON t.id = w.transfer_id
         WHERE t.state <> 'posted'
            OR w.amount_minor <> CASE w.account_id WHEN t.debit_account_id THEN -t.posted_minor
                                                   WHEN t.credit_account_id THEN t.posted_minor ELSE 0 END""",
    "applied adjustment did not move what it says": """
        SELECT j.id::text FROM wallet_adjustment j LEFT JOIN ledger_transfer t ON t.id = j.transfer_id
         WHERE j.state = 'applied'
           AND (t.state IS DISTINCT FROM 'posted' OR t.posted_minor <> abs(j.amount_minor)
                OR j.account_id <> CASE WHEN j.amount_minor > 0 THEN t.credit_account_id
                                        ELSE t.debit_account_id END)""",
    "account is overdrawn": """
        SELECT id::text FROM ledger_account
         WHERE NOT overdraft_allowed AND credits_posted - debits_posted - debits_pending < 0""",
    "transfer is in another currency than its accounts": """
        SELECT t.id::text FROM ledger_transfer t
          JOIN ledger_account d ON d.id = t.debit_account_id JOIN ledger_account c ON c.id = t.credit_account_id
         WHERE d.currency <> t.currency OR c.currency <> t.currency""",
    "wallet does not name its owner's account": """
        SELECT w.id::text FROM wallet w JOIN ledger_account a ON a.id = w.account_id
         WHERE a.owner_id IS DISTINCT FROM w.user_id OR a.kind <> 'wallet' OR a.currency <> w.currency""",
    "payment is not credited as it was paid": """
        SELECT i.id::text FROM payment_intent i
         WHERE i.state = 'succeeded' AND NOT EXISTS (
            SELECT 1 FROM ledger_transfer t
              JOIN ledger_account d ON d.id = t.debit_account_id JOIN ledger_account c ON c.id = t.credit_account_id
             WHERE t.intent_id = i.id AND t.state = 'posted' AND t.kind IN ('top_up', 'card_payment')
               AND t.posted_minor = i.captured_minor AND t.currency = i.currency
               AND d.kind = 'provider_clearing' AND c.kind = 'wallet' AND c.owner_id = i.user_id)""",
    "clearing moved without exactly one payment": """
        SELECT t.id::text FROM ledger_transfer t
          JOIN ledger_account a ON a.id IN (t.debit_account_id, t.credit_account_id) AND a.kind = 'provider_clearing'
          LEFT JOIN payment_intent i ON i.id = t.intent_id AND i.state = 'succeeded'
         WHERE t.state <> 'voided' AND t.kind NOT IN ('card_refund', 'withdrawal', 'money_returned', 'chargeback')
           AND (i.id IS NULL OR 1 < (SELECT count(*) FROM ledger_transfer o
                                      WHERE o.intent_id = t.intent_id AND o.state <> 'voided'
                                        AND o.kind IN ('top_up', 'card_payment')))""",
    "money on its way out is not booked as it went": """
        SELECT m.id::text FROM money_out m
          JOIN ledger_transfer t ON t.id IN (m.transfer_id, m.loss_id) LEFT JOIN ledger_transfer l ON l.id = m.loss_id
         WHERE t.id = m.transfer_id AND t.amount_minor + coalesce(l.amount_minor, 0) <> m.amount_minor
            OR t.currency <> m.currency
            OR t.state <> CASE m.state WHEN 'pending' THEN 'pending' WHEN 'failed' THEN 'voided' ELSE 'posted' END
            OR t.state = 'posted' AND t.posted_minor <> t.amount_minor
            OR (m.state = 'returned') <> EXISTS (SELECT 1 FROM ledger_transfer r
                                                  WHERE r.idempotency_key = 'returned:' || t.id)""",
    "money left without a refund or withdrawal that did": """
        SELECT t.id::text FROM ledger_transfer t
         WHERE t.kind IN ('card_refund', 'card_refund_loss', 'withdrawal') AND t.state = 'posted'
           AND NOT EXISTS (SELECT 1 FROM money_out m WHERE t.id IN (m.transfer_id, m.loss_id))""",
    "chargeback is not booked as its dispute stands": """
        SELECT t.id::text FROM ledger_transfer t
          LEFT JOIN card_dispute d ON t.id IN (d.transfer_id, d.recovery_id)
         WHERE t.kind IN ('chargeback', 'chargeback_recovery')
           AND (d.id IS NULL
                OR t.state <> CASE d.state WHEN 'open' THEN 'pending' WHEN 'won' THEN 'voided' ELSE 'posted' END
                OR (t.kind = 'chargeback') <> (t.id = d.transfer_id)
                OR t.kind = 'chargeback' AND t.amount_minor <> d.amount_minor)""",
    "debt is not what is receivable for its rental": """
        WITH owed AS (
            SELECT t.rental_id, sum(CASE WHEN a.id = t.debit_account_id THEN t.posted_minor ELSE -t.posted_minor END)
                   AS open
              FROM ledger_account a JOIN ledger_transfer t ON a.id IN (t.debit_account_id, t.credit_account_id)
             WHERE a.kind = 'receivable' AND t.state = 'posted' GROUP BY t.rental_id)
        SELECT coalesce(d.id, owed.rental_id)::text FROM debt d FULL JOIN owed ON owed.rental_id = d.rental_id
         WHERE coalesce(d.open_minor, 0) <> coalesce(owed.open, 0)""",
    "try to collect a debt is over and its payment is not, or the other way round": """
        SELECT c.debt_id::text || ' try ' || c.number FROM debt_collection c JOIN payment_intent i ON i.id = c.intent_id
         WHERE (c.ended_at IS NULL) <> (i.state IN ('processing', 'unknown', 'requires_action'))
            OR c.amount_minor <> i.amount_minor""",
    "more was given back to a card than it paid": """
        SELECT i.id::text FROM payment_intent i JOIN money_out m ON m.intent_id = i.id AND m.state <> 'failed'
           AND m.state <> 'returned'
         GROUP BY i.id HAVING sum(m.amount_minor) > coalesce(i.captured_minor, 0)""",
}


@dataclass(frozen=True, slots=True)
class LedgerProof:
    """`problems` is empty when `ok`; each names the rule and the row that breaks it."""

    ok: bool
    at: datetime
    accounts: int
    transfers: int
    problems: tuple[str, ...]


def prove(session: Session, now: datetime, further: Mapping[str, str] | None = None) -> LedgerProof:
    """Check the whole ledger; reads every transfer, so it is for the night and for operators.

    `further`: checks of areas above this one, each a rule and the statement that selects what breaks it.
    """
    apply_house_now(session)
    problems = [
        f"{rule}: {row[0]}"
        for rule, statement in {**_CHECKS, **(further or {})}.items()
        for row in session.execute(text(f"{statement} LIMIT {_LIMIT}"))
    ]
    counts = session.execute(
        text("SELECT (SELECT count(*) FROM ledger_account), (SELECT count(*) FROM ledger_transfer)")
    ).one()
    return LedgerProof(not problems, now, int(counts[0]), int(counts[1]), tuple(problems))


def keep(session: Session, proof: LedgerProof) -> LedgerProofRun:
    """The report, for those who come in the morning."""
    row = LedgerProofRun(
        at=proof.at, ok=proof.ok, accounts=proof.accounts, transfers=proof.transfers, problems=list(proof.problems)
    )
    session.add(row)
    session.flush()  # the caller shows its number
    return row


def reports(session: Session, limit: int, before: int | None = None) -> list[LedgerProofRun]:
    """Newest first; `before` is the id of the last one seen."""
    query = select(LedgerProofRun).order_by(LedgerProofRun.id.desc()).limit(limit)
    if before is not None:
        query = query.where(LedgerProofRun.id < before)
    return list(session.scalars(query))
