"""What a simulated fleet consists of. The same file seeds the backend (operator import) and the simulators."""

from math import cos, radians
from pathlib import Path
from random import Random
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from firmware_protocol.limits import MAX_SLOTS
from firmware_protocol.types import Cycles, Percent, Serial, SlotNumber, StationCode

#: Centre of the default fleet: Lisbon, Praça do Comércio.
DEFAULT_CENTRE: Final = (38.7078, -9.1366)
DEFAULT_SLOTS: Final = 8
#: Stations of the default fleet lie within this distance of the centre.
DEFAULT_RADIUS_KM: Final = 6.0
#: Serials are "PB" and this many digits.
SERIAL_DIGITS: Final = 8
#: Coprime to 10**SERIAL_DIGITS, so that counting in steps of it visits every serial once before any repeats.
_SERIAL_STRIDE: Final = 61_803_399
_KM_PER_DEGREE: Final = 111.32

_STREETS: Final = ("Augusta", "Garrett", "do Carmo", "da Prata", "do Ouro", "Liberdade", "da Rosa", "São Bento", "Roma")
_PLACES: Final = ("Café", "Station", "Library", "Hotel", "Market", "Museum", "Gym", "Pharmacy", "Cinema", "Campus")


class BankSpec(Struct, frozen=True, kw_only=True):
    """One power bank and where it is at the start."""

    slot: SlotNumber
    serial: Serial
    charge_pct: Percent = 80
    cycles: Cycles = 0
    health_pct: Percent = 100
    capacity_mah: Annotated[int, Meta(ge=100, le=100_000)] = 5000


class StationSpec(Struct, frozen=True, kw_only=True):
    """One cabinet. `secret` is its MQTT password, None where the broker asks for none."""

    code: StationCode
    name: str
    slots: Annotated[int, Meta(ge=1, le=MAX_SLOTS)] = DEFAULT_SLOTS
    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]
    address: str = ""
    banks: tuple[BankSpec, ...] = ()
    secret: str | None = None

    def __post_init__(self) -> None:
        slots = [bank.slot for bank in self.banks]
        if len(set(slots)) != len(slots) or any(slot > self.slots for slot in slots):
            raise ValueError(f"{self.code}: two banks share a slot, or a bank is in a slot that the cabinet has not")


class FleetSpec(Struct, frozen=True, kw_only=True):
    """Stations and the seed of everything random about them. Codes and serials are unique over the fleet."""

    seed: int = 1
    stations: tuple[StationSpec, ...]

    def __post_init__(self) -> None:
        codes = [station.code for station in self.stations]
        if len(set(codes)) != len(codes):
            raise ValueError("two stations share a code")
        serials = [bank.serial for station in self.stations for bank in station.banks]
        if len(set(serials)) != len(serials):
            raise ValueError("two power banks share a serial")


def default_fleet(n: int, seed: int = 1, *, centre: tuple[float, float] = DEFAULT_CENTRE) -> FleetSpec:
    """`n` cabinets `VB-0001`… of 8 slots with 5 or 6 banks each around `centre` (lat, lon in degrees).

    The same seed gives the same fleet, and a smaller fleet is the beginning of a larger one.
    """
    codes = [f"VB-{index:04d}" for index in range(1, n + 1)]
    return FleetSpec(seed=seed, stations=tuple(_station(i, code, seed, centre) for i, code in enumerate(codes)))


def fleet_of(codes: list[str], seed: int = 1, *, centre: tuple[float, float] = DEFAULT_CENTRE) -> FleetSpec:
    """A fleet like the default one under codes of the caller's own."""
    return FleetSpec(seed=seed, stations=tuple(_station(i, code, seed, centre) for i, code in enumerate(codes)))


def load_fleet(path: Path, seed: int = 1) -> FleetSpec:
    """A `FleetSpec` from a .json file, or station codes from a text file with one code a line ('#' comments).

    Raises OSError, msgspec.ValidationError, or ValueError when codes or serials repeat.
    """
    if path.suffix == ".json":
        return msgspec.json.decode(path.read_bytes(), type=FleetSpec)
    lines = (line.split("#", 1)[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return fleet_of([line for line in lines if line], seed)


def save_fleet(spec: FleetSpec, path: Path) -> None:
    """Write `spec` as indented JSON that `load_fleet` and the operator import read."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n")


def _station(index: int, code: str, seed: int, centre: tuple[float, float]) -> StationSpec:
    rng = Random(f"voltbay:{seed}:{index}")  # noqa: S311  # reproducible, not secret
    lat, lon = _place(rng, centre)
    street = rng.choice(_STREETS)
    filled = sorted(rng.sample(range(1, DEFAULT_SLOTS + 1), rng.choice((5, 6))))
    return StationSpec(
        code=code,
        name=f"{rng.choice(_PLACES)} {street} {index + 1}",
        lat=lat,
        lon=lon,
        address=f"Rua {street} {rng.randint(1, 240)}, Lisboa",
        banks=tuple(_bank(rng, index, slot, seed) for slot in filled),
    )


def _place(rng: Random, centre: tuple[float, float]) -> tuple[float, float]:
    north_km, east_km = (rng.uniform(-DEFAULT_RADIUS_KM, DEFAULT_RADIUS_KM) for _ in range(2))
    lat = centre[0] + north_km / _KM_PER_DEGREE
    lon = centre[1] + east_km / (_KM_PER_DEGREE * cos(radians(centre[0])))
    return round(lat, 6), round(lon, 6)


def _bank(rng: Random, index: int, slot: int, seed: int) -> BankSpec:
    number = (index * DEFAULT_SLOTS + slot + seed * 7_919) * _SERIAL_STRIDE % 10**SERIAL_DIGITS
    cycles = rng.randint(0, 400)
    return BankSpec(
        slot=slot,
        serial=f"PB{number:0{SERIAL_DIGITS}d}",
        charge_pct=rng.randint(55, 100),
        cycles=cycles,
        health_pct=max(70, 100 - cycles // 20 - rng.randint(0, 3)),
    )
