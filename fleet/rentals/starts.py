"""The start of a rental: every check, the hold, the reservation and the order to the cabinet in one transaction."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from fleet.db import new_id
from fleet.payments.holds import hold_from
from fleet.payments.wallets import Purse, lock_purse
from fleet.rentals import checks
from fleet.rentals.adjustments import Occasion, granted
from fleet.rentals.ejects import order_eject
from fleet.rentals.errors import NoBankAvailable, SlotNotAvailable
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.states import note
from fleet.rentals.tariffs import InForce
from fleet.rentals.terms import TariffTerms
from fleet.stations.availability import best_bank
from fleet.stations.models import PowerBank, Station, StationSlot
from fleet.stations.queries import find_station


def start(
    session: Session,
    *,
    user_id: UUID,
    station_code: str,
    slot: int | None,
    now: datetime,
    policy: RentalPolicy,
    request_id: str | None = None,
    rental_id: UUID | None = None,
) -> Rental:
    """An EJECTING rental whose order is on its way, its station and bank loaded. `slot` None: the best bank of the
    station; `rental_id`: the id it gets.

    Starts of one rider wait for each other on the wallet; starts for one bank only when no other
    bank is left, and one wins. Raises RiderNotActive, StationNotFound, StationNotRenting, StationOffline, NoTariff,
    TooManyOpenRentals, MoneyOwed, InsufficientFunds, NoBankAvailable, SlotNotAvailable.
    """
    station = find_station(session, station_code)
    checks.check_station(station, policy, now)
    tariff = checks.tariff_at(session, station, now)
    purse = lock_purse(session, user_id, tariff.terms.currency, now)
    rider = checks.standing_of(session, user_id)  # under the lock: what other starts of the rider did is seen
    checks.check_rider(rider)
    place = checks.free_place(rider, policy)
    checks.check_debts(rider)
    rental_id = rental_id or new_id()
    hold_id = _hold(session, purse, rental_id, tariff.terms, now)
    chosen, bank = _choose(session, station, slot, policy, now)
    occasion = Occasion(user_id, station.id, tariff.terms, now, rental_id)
    rental = Rental(
        id=rental_id,
        user_id=user_id,
        state=RentalState.EJECTING,
        open_place=place,
        power_bank_id=bank.id,
        station_out_id=station.id,
        slot_out=chosen.number,
        charge_out_pct=bank.charge_pct,
        requested_at=now,
        hold_transfer_id=hold_id,
        request_id=request_id,
        **_frozen(tariff, station),
        adjustments=[each.to_json() for each in granted(session, policy.sources, occasion)],
    )
    session.add(rental)
    session.flush()  # what follows refers to it
    note(session, rental, None, why="requested", evidence={"request": request_id}, at=now, now=now)
    order_eject(session, rental, bank, chosen, policy=policy, now=now)
    session.flush()  # a refusal of the database belongs to this call, not to the commit
    for name, found in (("station_out", station), ("station_in", None), ("power_bank", bank)):
        set_committed_value(rental, name, found)
    return rental


def _hold(session: Session, purse: Purse, rental_id: UUID, frozen: TariffTerms, now: datetime) -> UUID | None:
    if not frozen.hold_minor:
        return None
    return hold_from(session, purse, rental_id, frozen.money(frozen.hold_minor), now).id


def _frozen(tariff: InForce, station: Station) -> dict[str, object]:
    """The tariff as it stands now, whatever becomes of it."""
    return {
        "tariff_id": tariff.tariff_id,
        "terms": tariff.terms.to_json(),
        "currency": tariff.terms.currency,
        "time_zone": station.time_zone,
    }


def _choose(
    session: Session, station: Station, slot: int | None, policy: RentalPolicy, now: datetime
) -> tuple[StationSlot, PowerBank]:
    chosen = best_bank(session, station.id, policy.min_charge_pct, now, slot=slot, wait=True)
    if chosen is not None and chosen.power_bank is not None:
        return chosen, chosen.power_bank
    if slot is not None:
        raise SlotNotAvailable(f"slot {slot} has no bank that may be rented", station=station.code, slot=slot)
    raise NoBankAvailable(f"station {station.code} has no charged bank to give", station=station.code)
