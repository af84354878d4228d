from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.partners import shares
from workers.consumers import consumer


@consumer("partners.settle_rental")
def settle_rental(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """What a rental took in has changed: its tax and its partners' shares follow."""
    shares.settle_rental(session, UUID(payload["rental_id"]), now)
