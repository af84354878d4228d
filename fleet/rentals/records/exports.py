"""Rentals as CSV, by when they were asked for. Amounts in minor units."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import aliased

from fleet.common.tables import Span, Table
from fleet.rentals.models import Rental
from fleet.stations.models import PowerBank, Station


def rentals(span: Span) -> Table:
    out, back = aliased(Station), aliased(Station)
    r = Rental
    return (
        select(
            r.id, r.state, r.user_id, PowerBank.serial.label("bank"), out.code.label("station_out"), r.slot_out,
            back.code.label("station_in"), r.slot_in, r.requested_at, r.started_at, r.overdue_at, r.ended_at,
            r.closed_at, r.pay, r.currency, r.price_minor, r.charged_minor, r.due_minor, r.written_off_minor, r.swaps,
            r.failure_code,
        )
        .join(PowerBank, PowerBank.id == r.power_bank_id)
        .join(out, out.id == r.station_out_id)
        .outerjoin(back, back.id == r.station_in_id)
        .where(span.holds(r.requested_at))
        .order_by(r.id)
    )  # fmt: skip


EXPORTS: Final[dict[str, Callable[[Span], Table]]] = {"rentals": rentals}
