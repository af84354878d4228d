"""What the control API shows of cabinets and banks."""

from msgspec import Struct

from firmware_protocol.types import SlotFaultKind, SlotState
from simulators.battery import PowerBank
from simulators.driver import Driver
from simulators.faults import Fault
from simulators.fleet import SimulatedFleet
from simulators.slots import Slot
from simulators.uplink import Phase


class BankView(Struct, frozen=True, kw_only=True):
    serial: str | None
    charge_pct: int
    cycles: int
    health_pct: int


class SlotView(Struct, frozen=True, kw_only=True):
    slot: int
    state: SlotState
    locked: bool
    fault: SlotFaultKind | None
    bank: BankView | None


class StationSummary(Struct, frozen=True, kw_only=True):
    code: str
    name: str
    dialect: str
    connection: Phase
    banks: int
    free: int
    journal: int


class StationView(Struct, frozen=True, kw_only=True):
    code: str
    name: str
    dialect: str
    hardware_id: str | None
    lat: float
    lon: float
    connection: Phase
    boot: int
    epoch: int
    seq: int
    journal: int
    clock_drift_ms: int
    config: dict[str, str | int | float | bool | None]
    faults: tuple[Fault, ...]
    slots: tuple[SlotView, ...]


class Health(Struct, frozen=True, kw_only=True):
    """`status` is "ready" when every station is welcomed, "starting" otherwise."""

    status: str
    stations: int
    welcomed: int
    banks_out: int
    journaled: int
    published: int
    received: int


def summary(driver: Driver) -> StationSummary:
    board = driver.cabinet.board
    banks = len(board.slots.with_bank())
    return StationSummary(
        code=driver.code,
        name=board.station.name,
        dialect=board.station.dialect,
        connection=driver.cabinet.phase,
        banks=banks,
        free=len(board.slots) - banks,
        journal=len(board.journal),
    )


def station(driver: Driver, now_ms: int) -> StationView:
    board = driver.cabinet.board
    return StationView(
        code=driver.code,
        name=board.station.name,
        dialect=board.station.dialect,
        hardware_id=board.station.hardware_id,
        lat=board.station.lat,
        lon=board.station.lon,
        connection=driver.cabinet.phase,
        boot=board.boot,
        epoch=board.epoch,
        seq=board.seq,
        journal=len(board.journal),
        clock_drift_ms=board.clock.drift_ms,
        config=board.config,
        faults=board.faults.active(),
        slots=tuple(_slot(slot, now_ms) for slot in board.slots),
    )


def bank(item: PowerBank) -> BankView:
    return BankView(serial=item.serial, charge_pct=item.charge_pct, cycles=int(item.cycles), health_pct=item.health_pct)


def health(fleet: SimulatedFleet) -> Health:
    return Health(
        status="ready" if fleet.welcomed == len(fleet) else "starting",
        stations=len(fleet),
        welcomed=fleet.welcomed,
        banks_out=len(fleet.hands),
        journaled=sum(len(driver.cabinet.board.journal) for driver in fleet),
        published=sum(driver.published for driver in fleet),
        received=sum(driver.received_count for driver in fleet),
    )


def _slot(slot: Slot, now_ms: int) -> SlotView:
    if slot.bank is not None:
        slot.bank.charge_until(now_ms)
    return SlotView(
        slot=slot.number,
        state=slot.state,
        locked=slot.locked,
        fault=slot.fault,
        bank=bank(slot.bank) if slot.bank else None,
    )
