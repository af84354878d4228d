"""What was done alone lately, for things that two people do above a limit (decision 0151)."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from fleet.payments.approval_models import AdjustmentState, TwoPeople

#: How long what was done alone counts.
WINDOW: Final = timedelta(hours=24)


def done_alone(
    session: Session,
    model: type[TwoPeople],
    amount: InstrumentedAttribute[int],
    *of: ColumnElement[bool],
    now: datetime,
) -> int:
    """Minor units of `amount`, without their sign, that were applied without a second person; `of` says whose."""
    query = select(func.coalesce(func.sum(func.abs(amount)), 0)).where(
        *of,
        model.requested_at > now - WINDOW,
        model.state == AdjustmentState.APPLIED,
        model.decided_by.is_(None),
    )
    return int(session.scalar(query) or 0)
