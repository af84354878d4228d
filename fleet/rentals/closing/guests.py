"""A guest has no use for money here: what they do not owe goes back to their card (decision 0315)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.payments.outgoing import left_over
from fleet.rentals.closing.dues import collect_dues
from fleet.users.models import User


def give_back(session: Session, user_id: UUID, now: datetime) -> int:
    """Of guests only: what they owe is paid from the wallet first, what is left goes to the card; minor units that go.

    Whenever money has come into the wallet: from a card that was charged for more than is owed by now, or from a
    rental that turned out to cost less.
    """
    if not session.get_one(User, user_id, populate_existing=True).guest:
        return 0
    collect_dues(session, user_id, now)
    return left_over.to_cards(session, user_id, now)
