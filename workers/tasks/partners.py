from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.partners import sending, shares
from workers.consumers import consumer


@consumer("partners.settle_rental")
def settle_rental(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """What a rental took in has changed: its tax and its partners' shares follow."""
    shares.settle_rental(session, UUID(payload["rental_id"]), now)


@consumer("partners.settle_payout")
def settle_payout(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """The provider has spoken about money that left: a partner's payout follows."""
    sending.follow(session, UUID(payload["money_out_id"]), now)
