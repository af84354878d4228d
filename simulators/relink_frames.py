"""The slots of a simulated cabinet as Relink frames show them."""

from typing import Final

from firmware_protocol.dialects.relink.fields import bank_raw
from firmware_protocol.dialects.relink.records import Bank, CoarseBank
from firmware_protocol.errors import InvalidField
from simulators.battery import PowerBank
from simulators.slots import Slot

_LOCKED: Final = 0x40
_INSERTED: Final = 0x80
_CHARGING: Final = 0x18
#: What a bank that cannot be charged any more reports: no charge, the lowest raw voltage, all connectors in error.
_DEAD_PCT: Final = 1
_DEAD_MV: Final = 2010
_DEAD_STATUS: Final = 0x07
#: Steps of the first generation's level; 4 and 5 are rented out.
_LEVELS: Final = 5


def id_of(bank: PowerBank | None) -> str | None:
    """The id on the wire; None for a bank that this cabinet cannot read."""
    if bank is None or bank.serial is None:
        return None
    try:
        bank_raw(bank.serial)
    except InvalidField:
        return None
    return bank.serial


def coarse_of(slot: Slot, bank: PowerBank) -> CoarseBank:
    level = min(_LEVELS, bank.charge_pct * (_LEVELS + 1) // 100)
    return CoarseBank(slot=slot.number, bank=id_of(bank), level=level)


def record_of(slot: Slot, bank: PowerBank, ambient_c: float, *, switch_closed: bool) -> Bank:
    """`switch_closed`: the slot's switch has seen the bank; before that the record says that it is not inserted."""
    reading = bank.read(ambient_c)
    dead = reading.charge_pct < _DEAD_PCT or slot.fault is not None
    charging = _CHARGING if reading.current_ma and switch_closed and not dead else 0
    status = _LOCKED | (_INSERTED if switch_closed else 0) | charging | (_DEAD_STATUS if dead else 0)
    return Bank(
        slot=slot.number,
        bank=id_of(bank),
        level_raw=0 if dead else reading.charge_pct,
        mv=_DEAD_MV if dead else reading.voltage_mv // 10 * 10,
        ma=0 if dead else reading.current_ma,
        temp_c=round(reading.temperature_c),
        status_raw=status,
        soh=reading.health_pct,
    )
