"""What partners earned and were paid, as CSV."""

import csv
import io
from datetime import timedelta

from fleet.common.money import Money
from fleet.common.tables import Span, table
from fleet.partners import payouts
from fleet.partners.exports import EXPORTS
from tests.fleet.partners.conftest import Trade


def rows(trade: Trade, what: str, span: Span = Span()) -> list[dict[str, str]]:  # noqa: B008  # it is frozen
    text = "".join(table(trade.world.session, EXPORTS[what](span)))
    return list(csv.DictReader(io.StringIO(text)))


def test_shares_and_payouts(trade: Trade) -> None:
    rental = trade.ride()
    trade.settle(rental)
    told = {row["partner"]: (row["rental_id"], int(row["amount_minor"])) for row in rows(trade, "shares")}
    earned = trade.shares(rental)
    assert told == {"North": (str(rental.id), earned["franchise"]), "Kiosk": (str(rental.id), earned["vendor"])}
    payouts.request(trade.world.session, trade.vendor, Money(1, "EUR"), actor_id=trade.world.rider, now=trade.world.now)
    trade.world.session.flush()
    assert [(row["partner"], row["state"], row["amount_minor"]) for row in rows(trade, "payouts")] == [
        ("Kiosk", "requested", "1")
    ]
    later = Span(since=trade.world.now + timedelta(seconds=1))
    assert (rows(trade, "payouts", later), rows(trade, "shares", later)) == ([], [])
