"""What the nightly proof of the books looks at here: a period is paid as the ledger says, and once."""

from typing import Final

#: Each statement selects what breaks its rule.
CHECKS: Final = {
    "period of a subscription is not what was charged for it": """
        SELECT p.id::text FROM subscription_period p
          JOIN ledger_transfer t ON t.id = p.transfer_id
          LEFT JOIN ledger_transfer x ON x.idempotency_key = concat_ws(':', 'subscription', p.id, 'tax')
         WHERE p.state = 'paid'
           AND (t.state <> 'posted' OR t.kind <> 'subscription_charge' OR t.currency <> p.currency
                OR t.posted_minor + coalesce(x.posted_minor, 0) <> p.price_minor
                OR coalesce(x.posted_minor, 0) <> p.tax_minor)""",
    "charge for a subscription has no period": """
        SELECT t.id::text FROM ledger_transfer t
         WHERE t.kind = 'subscription_charge' AND t.state = 'posted'
           AND NOT EXISTS (SELECT 1 FROM subscription_period p
                            WHERE p.state = 'paid'
                              AND t.idempotency_key IN (concat_ws(':', 'subscription', p.id, 'subscriptions'),
                                                        concat_ws(':', 'subscription', p.id, 'tax')))""",
    # What the provider's desk gave back has moved before the period hears of it.
    "refund of a period is not what was given back": """
        SELECT p.id::text FROM subscription_period p
          LEFT JOIN ledger_transfer t
            ON t.idempotency_key IN (concat_ws(':', 'subscription', p.id, 'refund', 'refunds'),
                                     concat_ws(':', 'subscription', p.id, 'refund', 'tax')) AND t.state = 'posted'
          LEFT JOIN (SELECT intent_id, sum(posted_minor) AS minor FROM ledger_transfer
                      WHERE kind = 'subscription_refund' AND state = 'posted' AND intent_id IS NOT NULL
                      GROUP BY intent_id) card ON card.intent_id = p.intent_id
         GROUP BY p.id, card.minor
        HAVING p.refunded_minor < coalesce(sum(t.posted_minor), 0)
            OR p.refunded_minor > coalesce(card.minor, 0)
                                + coalesce(sum(t.posted_minor) FILTER (WHERE t.intent_id IS NULL), 0)""",
    "invoice of a period does not say what was given back": """
        SELECT p.id::text FROM subscription_period p LEFT JOIN invoice i ON i.corrects_id = p.invoice_id
         GROUP BY p.id HAVING p.refunded_minor <> -coalesce(sum(i.total_minor), 0)""",
    "card's money for a subscription is held though its payment is settled": """
        SELECT t.id::text FROM ledger_transfer t JOIN subscription_attempt a ON a.intent_id = t.intent_id
         WHERE t.kind = 'subscription_hold' AND t.state = 'pending' AND a.state IN ('paid', 'returned')""",
}
