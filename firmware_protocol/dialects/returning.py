"""What vendors' dialects share: a bank told to be back, by frames that repeat themselves and carry no number."""

from typing import Final

from firmware_protocol.messages import CheckNeeded, Deduced, EventMessage, Inventory, PowerBankInserted, SlotInventory
from firmware_protocol.types import SlotState
from firmware_protocol.vendor import Known

Events = tuple[EventMessage | Deduced, ...]

#: A bank that is told back in the very slot it left so short a while ago: a repeated frame, or a rider who changed
#: their mind. Only a look into the slot can tell; either way nothing is owed yet.
JUST_LEFT_S: Final = 120.0


def came_back(known: Known, slot: int, serial: str | None, charge_pct: int | None, look_after_s: float) -> Events:
    """A bank was put into a slot, by a frame that may be a repetition; a look into the slot confirms it."""
    if serial is None or not 1 <= slot <= known.slot_count:
        return (look("return_uncertain", look_after_s),)
    if known.banks.get(serial) == slot:
        # Told before, by another frame or by this one: the charge may be news.
        return (seen(slot, serial, charge_pct),)
    if just_left(known, serial, slot):
        return (look("return_after_eject", look_after_s),)
    inserted = PowerBankInserted(slot=slot, serial=serial, charge_pct=charge_pct)
    return (inserted, look("return_confirmed", look_after_s))


def just_left(known: Known, serial: str, slot: int) -> bool:
    eject = known.last_eject_of(serial)
    return eject is not None and eject.slot == slot and eject.age_s < JUST_LEFT_S


def seen(slot: int, serial: str, charge_pct: int | None) -> Inventory:
    """It is there, and nobody says since when."""
    entry = SlotInventory(slot=slot, state=SlotState.OCCUPIED, serial=serial, charge_pct=charge_pct)
    return Inventory(slots=(entry,), complete=False)


def look(why: str, after_s: float) -> CheckNeeded:
    return CheckNeeded(why=why, look_after_s=after_s)
