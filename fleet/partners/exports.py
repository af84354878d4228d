"""What partners earned and were paid, as CSV. Amounts in minor units."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import select

from fleet.common.tables import Span, Table
from fleet.partners.models import Partner, PayoutRequest, RevenueShare
from fleet.stations.models import Station


def shares(span: Span) -> Table:
    """As they stand now, by when their rentals ended."""
    s = RevenueShare
    return (
        select(
            s.id, s.at, s.partner_id, Partner.name.label("partner"), s.rental_id, Station.code.label("station"),
            s.currency, s.gross_minor, s.tax_minor, s.service_charge_minor, s.net_minor, s.amount_minor, s.updated_at,
        )
        .join(Partner, Partner.id == s.partner_id)
        .join(Station, Station.id == s.station_id)
        .where(span.holds(s.at))
        .order_by(s.id)
    )  # fmt: skip


def payouts(span: Span) -> Table:
    """By when they were asked for."""
    p = PayoutRequest
    return (
        select(
            p.id, p.requested_at, p.state, p.partner_id, Partner.name.label("partner"), p.currency, p.amount_minor,
            p.requested_by, p.decided_by, p.decided_at, p.finished_at, p.provider, p.reference, p.reason,
        )
        .join(Partner, Partner.id == p.partner_id)
        .where(span.holds(p.requested_at))
        .order_by(p.id)
    )  # fmt: skip


EXPORTS: Final[dict[str, Callable[[Span], Table]]] = {"shares": shares, "payouts": payouts}
