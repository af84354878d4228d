"""What a rental took out of its bank."""

from sqlalchemy.orm import Session

from fleet.rentals.models import Rental
from fleet.stations.health import count_discharge
from fleet.stations.models import PowerBank


def taken_pct(charge_out_pct: int | None, charge_in_pct: int | None) -> int:
    """What was taken out of a bank, as far as is known."""
    return 0 if charge_out_pct is None or charge_in_pct is None else max(0, charge_out_pct - charge_in_pct)


def count_use(session: Session, rental: Rental) -> None:
    """Its bank's cycles hold what it took out of the bank, whichever of both measurements came last."""
    taken = taken_pct(rental.charge_out_pct, rental.charge_in_pct)
    if taken != rental.discharged_pct:
        bank = session.get_one(PowerBank, rental.power_bank_id, with_for_update={"key_share": True})
        count_discharge(bank, taken - rental.discharged_pct)
        rental.discharged_pct = taken
