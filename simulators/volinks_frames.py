"""The slots of a simulated cabinet as Volinks frames show them."""

from collections.abc import Collection
from typing import Final

from firmware_protocol.dialects.volinks.boards import Board, Hole, Inventory
from firmware_protocol.dialects.volinks.codes import HoleState
from firmware_protocol.dialects.volinks.limits import NO_SERIAL
from firmware_protocol.types import SlotFaultKind
from simulators.battery import PowerBank
from simulators.slots import Slot
from simulators.spec import StationSpec

OLD: Final = "old"
_OLD_HOLES: Final = 6
_NEW_HOLES: Final = 4
_UNREAD: Final = 0xFF
#: What the old `check` tells of.
FULLEST: Final = 5
#: What empty holes of a newer cabinet hold: the leftovers of a real one. The state alone says that they are empty.
_LEFTOVERS: Final = {"current_raw": 0xB7, "battery_raw": 0x6D, "sn": 0x0004_0000, "temp_raw": 1}
_STATES: Final = {
    SlotFaultKind.JAM: HoleState.STUCK,
    SlotFaultKind.CHARGE: HoleState.CHARGING_ABNORMAL,
    SlotFaultKind.COMMUNICATION: HoleState.COMMUNICATION_FAILURE,
    SlotFaultKind.SHORT: HoleState.SHORT_CIRCUIT,
    SlotFaultKind.SENSOR: HoleState.FORCED,
    SlotFaultKind.ANTI_THEFT: HoleState.ANTI_THEFT,
}


def shape_of(station: StationSpec) -> tuple[int, ...]:
    """Holes of each board: as specified, or 6 (old) and 4 (new) with the rest on the last one."""
    if station.layout is not None:
        return station.layout
    holes = _OLD_HOLES if station.flavour == OLD else _NEW_HOLES
    full, rest = divmod(station.slots, holes)
    return (holes,) * full + ((rest,) if rest else ())


def board_of(shape: tuple[int, ...], number: int, *, old: bool) -> int:
    """The address of the board that has slot `number`."""
    last = 0
    for index, holes in enumerate(shape):
        last += holes
        if number <= last:
            return _address(index, old=old)
    return _address(len(shape) - 1, old=old)


def inventory(
    shape: tuple[int, ...], holes: list[Hole], *, old: bool, only: Collection[int] | None = None
) -> Inventory:
    """Every hole, or those numbered in `only`, as the old `check` gives them."""
    boards, start = [], 0
    for index, count in enumerate(shape):
        mine = tuple(h for h in holes[start : start + count] if only is None or h.hole in only)
        start += count
        filler, version = (0x00, 0x6E) if old else (0xFF, 0x04)
        if mine:
            boards.append(
                Board(
                    address=_address(index, old=old),
                    reserved1=filler,
                    reserved2=filler,
                    soft=version,
                    hard=0x6E if old else 0x16,
                    holes=mine,
                )
            )
    return Inventory(boards=tuple(boards))


def hole_of(slot: Slot, bank: PowerBank | None, ambient_c: float, *, old: bool, sentinels: bool = False) -> Hole:
    """`bank`: the one in the slot, or the one that the self-check still sees there."""
    number = slot.number & 0xFF
    if bank is None:
        state = HoleState.EMPTY if slot.fault is None else _STATES[slot.fault]
        if old or state:
            return Hole(hole=number, state=state, soc_raw=_UNREAD, temp_raw=_UNREAD, sensor_raw=0x80)
        return Hole(hole=number, state=state, sensor_raw=0x80, **_LEFTOVERS)
    sn = serial_of(bank)
    state = HoleState.NORMAL if sn != NO_SERIAL else HoleState.COMMUNICATION_FAILURE
    if slot.fault is not None:
        state = _STATES[slot.fault]
    reading = bank.read(ambient_c)
    unread = sentinels or sn == NO_SERIAL
    return Hole(
        hole=number,
        state=state,
        battery_raw=0 if unread else max(1, min(0xFF, reading.voltage_mv // 10 - 200)),
        sn=sn,
        soc_raw=_UNREAD if unread else reading.charge_pct,
        temp_raw=_UNREAD if unread else round(reading.temperature_c),
        charge_v_raw=_UNREAD if unread else 50,
        charge_a_raw=_UNREAD if unread else min(0xFE, reading.current_ma // 100),
        soft=13,
    )


def serial_of(bank: PowerBank) -> int:
    """The number on the wire; FFFFFFFF for a bank that this cabinet cannot read."""
    serial = bank.serial or ""
    fits = serial.isascii() and serial.isdecimal() and 0 < int(serial) < NO_SERIAL
    return int(serial) if fits else NO_SERIAL


def _address(index: int, *, old: bool) -> int:
    return 0x10 * (index + 1) if old and index < 0x0F else index + 1
