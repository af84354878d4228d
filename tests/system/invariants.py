"""What must hold after every test, whatever was killed, lost or doubled: metal and money agree with each other."""

from collections import Counter

from sqlalchemy import Engine, text

from fleet.common.clock import utc_now
from fleet.partners.proof import CHECKS
from fleet.payments.proof import prove
from tests.system.system import System

#: Each query returns what must not be; the key says why.
_FORBIDDEN = {
    "the hold of a closed rental is still pending": """
        SELECT r.id, r.state, t.state FROM rental r JOIN ledger_transfer t ON t.id = r.hold_transfer_id
        WHERE r.open_place IS NULL AND t.state = 'pending'""",
    # One that was re-opened because its bank left late had given its hold back; of one by card, the card holds it.
    "an open rental has no hold": """
        SELECT r.id, r.state FROM rental r LEFT JOIN ledger_transfer t ON t.id = r.hold_transfer_id
        WHERE r.open_place IS NOT NULL AND (t.id IS NULL OR t.state <> 'pending')
          AND NOT EXISTS (SELECT 1 FROM payment_intent i WHERE i.id = r.intent_id AND i.state = 'authorized')
          AND NOT EXISTS (SELECT 1 FROM rental_event e WHERE e.rental_id = r.id
                          AND e.to_state IN ('eject_failed', 'cancelled'))""",
    # What a bank has taken back is held until it has decided, whatever the rental is by then.
    "money is held for no open rental": """
        SELECT t.id, t.kind, t.rental_id FROM ledger_transfer t LEFT JOIN rental r ON r.id = t.rental_id
        WHERE t.state = 'pending' AND t.kind <> 'chargeback' AND (r.id IS NULL OR r.open_place IS NULL)""",
    # What a correction or a dispute gives back is charged no more; a refund beside the price leaves it as it was.
    "a rental was charged something else than its transfers, with or without what came back": """
        SELECT r.id, r.state, r.charged_minor, coalesce(sum(t.paid), 0), coalesce(sum(t.back), 0)
        FROM rental r LEFT JOIN (
            SELECT t.rental_id, a.owner_id,
                   CASE WHEN a.id = t.debit_account_id THEN t.posted_minor ELSE 0 END AS paid,
                   CASE WHEN a.id = t.credit_account_id THEN t.posted_minor ELSE 0 END AS back
            FROM ledger_transfer t JOIN ledger_account a ON a.id IN (t.debit_account_id, t.credit_account_id)
            WHERE t.state = 'posted') t ON t.rental_id = r.id AND t.owner_id = r.user_id
        GROUP BY r.id HAVING r.charged_minor NOT BETWEEN coalesce(sum(t.paid), 0) - coalesce(sum(t.back), 0)
                                                     AND coalesce(sum(t.paid), 0)""",
    "a price that is neither charged, due nor given up": """
        SELECT id, price_minor, charged_minor, due_minor FROM rental
        WHERE state = 'completed' AND coalesce(price_minor, 0) <> charged_minor + due_minor + written_off_minor""",
    "a rental's invoices are not its price": """
        SELECT r.id, r.price_minor, coalesce(sum(i.total_minor), 0)
        FROM rental r LEFT JOIN invoice i ON i.rental_id = r.id AND i.kind <> 'credit'
        GROUP BY r.id HAVING coalesce(r.price_minor, 0) <> coalesce(sum(i.total_minor), 0)""",
    "more of a rental is credited than it costs": """
        SELECT i.rental_id, -sum(i.total_minor), max(r.price_minor)
        FROM invoice i JOIN rental r ON r.id = i.rental_id WHERE i.kind = 'credit'
        GROUP BY i.rental_id HAVING NOT -sum(i.total_minor) BETWEEN 0 AND coalesce(max(r.price_minor), 0)""",
    "a rider paid for a bank that was not given": """
        SELECT id, state, charged_minor, due_minor FROM rental
        WHERE (state IN ('eject_failed', 'cancelled') OR started_at IS NULL) AND charged_minor + due_minor > 0""",
    "a rental completed without times": """
        SELECT id FROM rental WHERE state = 'completed' AND (started_at IS NULL OR ended_at IS NULL)""",
    "a rider has two open rentals": """
        SELECT user_id FROM rental WHERE open_place IS NOT NULL GROUP BY user_id HAVING count(*) > 1""",
    "a bank has two open rentals": """
        SELECT power_bank_id FROM rental WHERE open_place IS NOT NULL GROUP BY power_bank_id HAVING count(*) > 1""",
    "a rental moved more than one bank, and one for each exchange": """
        SELECT m.rental_id, count(*), r.swaps FROM power_bank_movement m JOIN rental r ON r.id = m.rental_id
        WHERE m.kind IN ('ejected', 'vanished') GROUP BY m.rental_id, r.swaps HAVING count(*) > 1 + r.swaps""",
    "a rental changed to a state that it was in, or from one that it was not in": """
        SELECT rental_id, from_state, before FROM (
            SELECT rental_id, from_state, lag(to_state) OVER (PARTITION BY rental_id ORDER BY id) AS before
            FROM rental_event) AS steps
        WHERE from_state IS DISTINCT FROM before AND before IS NOT NULL""",
    "a rental's last event is not its state": """
        SELECT r.id, r.state, e.to_state FROM rental r JOIN LATERAL (
            SELECT to_state FROM rental_event WHERE rental_id = r.id ORDER BY id DESC LIMIT 1) e ON true
        WHERE e.to_state <> r.state""",
    "a slot is reserved for no rental that waits": """
        SELECT s.id, s.reserved_for FROM station_slot s LEFT JOIN rental r ON r.id = s.reserved_for
        WHERE s.reserved_for IS NOT NULL
          AND (r.id IS NULL OR r.state NOT IN ('ejecting', 'eject_unknown') AND r.swap_id IS NULL)
          AND NOT EXISTS (SELECT 1 FROM reservation v WHERE v.id = s.reserved_for AND v.state = 'active')""",
    "a bank is in a slot and with a rider": """
        SELECT b.serial, r.id, r.state FROM station_slot s JOIN power_bank b ON b.id = s.power_bank_id
        JOIN rental r ON r.power_bank_id = b.id AND r.state IN ('active', 'overdue')""",
    "a bank is nowhere: in no slot, with no open rental, in no open case": """
        SELECT b.serial, b.state FROM power_bank b
        WHERE NOT EXISTS (SELECT 1 FROM station_slot s WHERE s.power_bank_id = b.id)
          AND NOT EXISTS (SELECT 1 FROM rental r WHERE r.power_bank_id = b.id
                          AND (r.open_place IS NOT NULL OR r.state = 'bought_out'))
          AND NOT EXISTS (SELECT 1 FROM orphan_bank_case c WHERE c.power_bank_id = b.id AND c.state = 'open')""",
    "a card was charged and the wallet has not heard of it, or twice": """
        SELECT i.id, i.state, count(t.id) FROM payment_intent i
        LEFT JOIN ledger_transfer t ON t.intent_id = i.id AND t.state = 'posted'
                                   AND t.kind IN ('top_up', 'card_payment')
        GROUP BY i.id HAVING (i.state = 'succeeded') <> (count(t.id) = 1) OR count(t.id) > 1""",
    "an account's totals are not the sums of its transfers": """
        SELECT a.id, a.kind, a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending
        FROM ledger_account a
        WHERE a.debits_posted <> (SELECT coalesce(sum(posted_minor), 0) FROM ledger_transfer
                                  WHERE debit_account_id = a.id AND state = 'posted')
           OR a.credits_posted <> (SELECT coalesce(sum(posted_minor), 0) FROM ledger_transfer
                                   WHERE credit_account_id = a.id AND state = 'posted')
           OR a.owner_id IS NOT NULL  -- the house counts what is posted only
              AND a.debits_pending <> (SELECT coalesce(sum(amount_minor), 0) FROM ledger_transfer
                                       WHERE debit_account_id = a.id AND state = 'pending')""",
}


def assert_invariants(system: System) -> None:
    """Of a system that is settled. Looks at everything that happened in it so far."""
    system.must_all_run()
    broken = broken_rules(system.engine) + _ledger_problems(system) + _wrong_slots(system) + _wrong_moves(system)
    assert not broken, "\n".join(broken)


def broken_rules(engine: Engine) -> list[str]:
    """Which rules of `_FORBIDDEN` do not hold, each with its first offenders."""
    broken = []
    with engine.connect() as connection:
        for rule, query in _FORBIDDEN.items():
            if rows := connection.execute(text(query)).fetchall():
                broken.append(f"{rule}: {[tuple(row) for row in rows[:5]]}")
    return broken


def _ledger_problems(system: System) -> list[str]:
    with system.session() as session:
        proof = prove(session, utc_now(), CHECKS)
    return [] if proof.ok else [f"the ledger: {problem}" for problem in proof.problems]


def _wrong_slots(system: System) -> list[str]:
    """The backend's picture of every slot against the cabinets themselves."""
    rows = system.rows(
        "SELECT t.code, s.number, b.serial FROM station_slot s JOIN station t ON t.id = s.station_id"
        " JOIN power_bank b ON b.id = s.power_bank_id"
    )
    believed: dict[str, dict[int, str]] = {}
    for code, number, serial in rows:
        believed.setdefault(code, {})[number] = serial
    wrong = []
    for code in system.cabinets.codes:
        true = system.cabinets.banks(code)
        if believed.get(code, {}) != true:
            off = {
                slot: (believed.get(code, {}).get(slot), true.get(slot))
                for slot in {*believed.get(code, {}), *true}
                if believed.get(code, {}).get(slot) != true.get(slot)
            }
            wrong.append(f"{code}: slot: (believed, true) {off}")
    return wrong


def _wrong_moves(system: System) -> list[str]:
    """As many banks are known to have left each station as its motor let go, or as were taken by force."""
    rows = system.rows(
        "SELECT t.code, count(*) FROM power_bank_movement m JOIN station t ON t.id = m.station_id"
        " WHERE m.kind IN ('ejected', 'vanished') GROUP BY t.code"
    )
    known = Counter({code: int(count) for code, count in rows})
    wrong = []
    for code in system.cabinets.codes:
        left = system.cabinets.moves(code) + system.cabinets.removed[code]
        if known[code] != left:
            wrong.append(f"{code}: {left} banks left, {known[code]} are known to have left")
    return wrong
