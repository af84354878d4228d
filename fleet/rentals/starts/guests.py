"""What stands for a rental of somebody whom nobody knows: the card that pays it, until nothing is owed any more."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.payments import methods
from fleet.payments.errors import PaymentMethodInUse, PaymentMethodNotFound
from fleet.rentals.starts import checks
from fleet.rentals.starts.queries import standing_of
from fleet.users.models import User


def hold_card(session: Session, user_id: UUID, method_id: UUID | None) -> None:
    """The card is saved, and stays so until the guest's rental is seen: late fees are asked of it.

    The rider's wallet is locked. Raises PaymentMethodNotFound.
    """
    if method_id is None:
        raise PaymentMethodNotFound("a guest's card has to be saved")
    methods.locked(session, user_id, method_id, share=True)


def forget_card(session: Session, user: User, method_id: UUID, now: datetime) -> None:
    """The rider wants a card forgotten; a guest's stays while a rental is open or money is owed.

    A start waits for this, and this for a start. Raises PaymentMethodNotFound, PaymentMethodInUse, MoneyOwed.
    """
    if user.guest:
        session.get_one(User, user.id, with_for_update={"key_share": True})  # in the order of `methods`
        methods.locked(session, user.id, method_id)
        rider = standing_of(session, user.id)
        if rider.places_taken:
            raise PaymentMethodInUse("this card stands for your rental: give the bank back first", method_id=method_id)
        checks.check_debts(rider)
    methods.remove(session, user.id, method_id, now)
