"""What a run came to: a test that drives nothing anywhere proves nothing."""

from typing import Final

from sqlalchemy import Engine, text

_QUERIES: Final = (
    "SELECT 'rental ' || state, count(*) FROM rental GROUP BY 1",
    "SELECT 'why ' || why, count(*) FROM rental_event GROUP BY 1",
    "SELECT 'swap ' || state, count(*) FROM rental_swap GROUP BY 1",
    "SELECT 'reservation ' || state, count(*) FROM reservation GROUP BY 1",
    "SELECT 'reservation fee', count(*) FROM reservation WHERE charged_minor > 0",
    "SELECT 'payment ' || purpose || ' ' || state, count(*) FROM payment_intent GROUP BY 1",
    "SELECT 'refund ' || state, count(*) FROM refund GROUP BY 1",
    "SELECT 'dispute ' || state, count(*) FROM rental_dispute GROUP BY 1",
    "SELECT 'chargeback ' || state, count(*) FROM card_dispute GROUP BY 1",
    "SELECT 'extension', count(*) FROM rental_extension",
    "SELECT 'debt ' || state, count(*) FROM debt GROUP BY 1",
    "SELECT 'debt asked for, ' || coalesce(outcome, 'waits'), count(*) FROM debt_collection GROUP BY 1",
    "SELECT 'debt asked for by its schedule', count(*) FROM debt_collection WHERE NOT by_rider",
    "SELECT 'claim ' || state, count(*) FROM return_claim GROUP BY 1",
    "SELECT 'withdrawal ' || state, count(*) FROM withdrawal GROUP BY 1",
    "SELECT 'webhook ' || coalesce(split_part(error, ':', 1), 'applied'), count(*) FROM payment_webhook GROUP BY 1",
    "SELECT 'paid by ' || pay || coalesce(' ' || nullif(points_max_minor, 0), ''), count(*) FROM rental GROUP BY 1",
    "SELECT 'free minutes used: ' || (coalesce(used_s, 0) > 0), count(*) FROM subscription_use GROUP BY 1",
    "SELECT 'pause ' || kind, count(*) FROM rental_pause GROUP BY 1",
)


def reached(engine: Engine) -> dict[str, int]:
    """How often each kind of thing came about."""
    with engine.connect() as connection:
        return {name: int(times) for query in _QUERIES for name, times in connection.execute(text(query)) if times}
