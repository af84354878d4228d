"""Where an operator says that a bank is: slot and bank put right by their word.

The rental is locked before (decision 0033). The next inventory has the last word: a bank that is not where it was said
to be is asked for by a case.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from firmware_protocol.types import SlotState
from fleet.common.notify import Channel, notify
from fleet.rentals.cases.service import open_case, settle_case
from fleet.rentals.errors import SlotTaken
from fleet.rentals.locking import slot_out
from fleet.rentals.models import Rental
from fleet.rentals.states import Evidence
from fleet.stations.models import PowerBank, PowerBankState, StationSlot
from fleet.stations.picture import Picture, look
from fleet.stations.queries import find_station


@dataclass(frozen=True, slots=True)
class Place:
    """A slot by the names that people use."""

    station: str
    slot: int

    def __str__(self) -> str:
        return f"{self.station}/{self.slot}"


@dataclass(frozen=True, slots=True)
class Around:
    """The slots and banks that one correction may touch, locked. `slot` None: nobody knows where the bank is."""

    picture: Picture
    slot: StationSlot | None


def look_around(
    session: Session, rental: Rental, serial: str, place: Place | None, now: datetime, *, also: tuple[str, ...] = ()
) -> Around:
    """Lock the bank that is said to be in `place`, those of `also`, where they are, and the place.

    Raises StationNotFound, NoSuchSlot, SlotTaken.
    """
    serials = {serial, *also}
    if place is None:
        return Around(look(session, rental.station_out_id, (), serials, now), None)
    picture = look(session, find_station(session, place.station).id, {place.slot}, serials, now)
    slot = picture.slot(place.slot)
    held = picture.bank_in(slot)
    if held is not None and held.serial != serial:
        raise SlotTaken(f"{place} holds {held.serial}", place=str(place), serial=held.serial)
    return Around(picture, slot)


def settle_bank(
    session: Session, around: Around, bank: PowerBank, rental: Rental, *, why: str, evidence: Evidence, now: datetime
) -> None:
    """Into its slot, or asked for by a case of the reason `why`; a bank that a slot holds already stays there.

    No rental has it any more.
    """
    if around.slot is not None:
        put_into(session, around.picture, bank, around.slot)
        settle_case(session, bank, f"{why}: put into slot {around.slot.number} by an operator", now)
        return
    if around.picture.slot_with(bank) is not None:
        return
    if bank.state is PowerBankState.RENTED:
        bank.state = PowerBankState.MISSING
    session.flush()  # the bank is nobody's before a case asks for it
    open_case(session, bank, slot_out(session, rental), reason=why, evidence=evidence, now=now, rental_id=rental.id)


def put_into(session: Session, picture: Picture, bank: PowerBank, slot: StationSlot) -> None:
    """Both locked, the slot without another bank."""
    if picture.bank_in(slot) is not bank:
        picture.take(bank)
        slot.state = SlotState.OCCUPIED
        picture.put(bank, slot)
    notify(session, Channel.STATION, str(slot.station_id))
