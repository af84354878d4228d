"""A bank that is kept for too long counts as bought or lost."""

from datetime import datetime

from sqlalchemy.orm import Session

from fleet.rentals.agreement import price_at
from fleet.rentals.closing.charges import charge
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.pricing.price import LineKind
from fleet.rentals.states import Evidence, move
from fleet.stations.models import PowerBank, PowerBankState


def buy_out(session: Session, rental: Rental, *, evidence: Evidence, now: datetime) -> None:
    """The bank counts as bought, for the whole of the total cap, or as lost, for the fee: no coupon buys a bank."""
    assert rental.buyout_at is not None
    rental.ended_at = rental.buyout_at
    result = price_at(rental, rental.buyout_at, bought=True)
    charge(session, rental, result, now, bought=True)
    lost = any(line.kind == LineKind.LOST_FEE for line in result.lines)
    why = "lost" if lost else "total_cap"
    move(session, rental, RentalState.BOUGHT_OUT, why=why, evidence=evidence, at=rental.buyout_at, now=now)
    bank = session.get_one(PowerBank, rental.power_bank_id, with_for_update={"key_share": True}, populate_existing=True)
    if bank.state in {PowerBankState.RENTED, PowerBankState.MISSING}:
        bank.state, bank.updated_at = PowerBankState.LOST, now
