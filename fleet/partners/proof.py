"""What the nightly proof of the books looks at here: shares and payouts are what the ledger moved for them."""

from typing import Final

#: Each statement selects what breaks its rule.
CHECKS: Final = {
    "account of what a partner is owed belongs to no partner": """
        SELECT a.id::text FROM ledger_account a LEFT JOIN partner p ON p.id = a.owner_id
         WHERE a.kind = 'partner_payable' AND p.id IS NULL""",
    "share of a rental is not what was posted for it": """
        SELECT s.id::text FROM revenue_share s
          LEFT JOIN ledger_account a
            ON a.owner_id = s.partner_id AND a.kind = 'partner_payable' AND a.currency = s.currency
          LEFT JOIN ledger_transfer t
            ON t.rental_id = s.rental_id AND a.id IN (t.debit_account_id, t.credit_account_id) AND t.state = 'posted'
         GROUP BY s.id
        HAVING s.amount_minor
            <> coalesce(sum(CASE WHEN t.credit_account_id = a.id THEN t.posted_minor ELSE -t.posted_minor END), 0)""",
    "shares of a rental are more than its net": """
        SELECT rental_id::text FROM revenue_share GROUP BY rental_id HAVING sum(amount_minor) > max(net_minor)""",
    "payout is not what the ledger holds or moved for it": """
        SELECT p.id::text FROM payout_request p JOIN ledger_transfer t ON t.id = p.hold_transfer_id
          LEFT JOIN money_out m ON m.payout_id = p.id
         WHERE t.amount_minor <> p.amount_minor OR (p.provider IS NULL) <> (m.id IS NULL)
            OR t.state <> CASE WHEN m.state IN ('succeeded', 'returned') THEN 'posted'
                               WHEN m.state = 'failed' THEN 'voided' WHEN m.state = 'pending' THEN 'pending'
                               WHEN p.state = 'completed' THEN 'posted'
                               WHEN p.state IN ('rejected', 'cancelled') THEN 'voided' ELSE 'pending' END""",
    "payout is over and its movement is not": """
        SELECT p.id::text FROM payout_request p JOIN money_out m ON m.payout_id = p.id
         WHERE p.state = 'failed' AND m.state NOT IN ('failed', 'returned')
            OR p.state = 'completed' AND m.state NOT IN ('succeeded', 'returned')
            OR p.state NOT IN ('processing', 'completed', 'failed')""",
}
