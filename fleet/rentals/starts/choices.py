"""Which bank a rider gets."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.rentals.errors import NoBankAvailable, SlotNotAvailable
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts.queries import Renting
from fleet.stations.availability import Offer, best_bank
from fleet.stations.models import Station


def choose(
    session: Session,
    station: Renting | Station,
    slot: int | None,
    *,
    policy: RentalPolicy,
    now: datetime,
    reserved_for: UUID | None = None,
) -> Offer:
    """The best bank of the station, or that in `slot`, locked; before all others the one that is kept for
    `reserved_for`. Raises NoBankAvailable, SlotNotAvailable.
    """
    chosen = best_bank(session, station.id, policy.min_charge_pct, now, slot=slot, wait=True, reserved_for=reserved_for)
    if chosen is not None:
        return chosen
    if slot is not None:
        raise SlotNotAvailable(f"slot {slot} has no bank that may be rented", station=station.code, slot=slot)
    raise NoBankAvailable(f"station {station.code} has no charged bank to give", station=station.code)
