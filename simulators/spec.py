"""What a simulated fleet consists of. The same file seeds the backend (operator import) and the simulators."""

from enum import StrEnum
from math import cos, radians
from pathlib import Path
from random import Random
from typing import Annotated, Final, Literal

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


class Kind(StrEnum):
    """What a fleet of one kind of cabinet is made of."""

    NATIVE = "native"
    #: Boards of four holes, both guides' newer half.
    VOLINKS = "volinks"
    #: Boards of six holes, `check` tells of five banks only.
    VOLINKS_OLD = "volinks-old"
    RELINK = "relink"
    RELINK_1 = "relink-1"

    @property
    def dialect(self) -> "DialectName":
        return _KINDS[self][0]

    @property
    def variant(self) -> str | None:
        return _KINDS[self][1]


DialectName = Literal["native", "volinks", "relink"]
_KINDS: Final[dict[Kind, tuple[DialectName, str | None]]] = {
    Kind.NATIVE: ("native", None),
    Kind.VOLINKS: ("volinks", "new"),
    Kind.VOLINKS_OLD: ("volinks", "old"),
    Kind.RELINK: ("relink", "2"),
    Kind.RELINK_1: ("relink", "1"),
}
#: Variants of each dialect; the first is the one without a name.
_VARIANTS: Final[dict[str, tuple[str, ...]]] = {"native": (), "volinks": ("new", "old"), "relink": ("2", "1")}
#: How codes, hardware ids and serials begin. A Volinks serial is a number of eight digits, a Relink one four characters
#: and eight hex digits.
_CODE_PREFIX: Final = {"native": "VB", "volinks": "VL", "relink": "RL"}
_SERIAL_PREFIX: Final = {"native": "PB", "volinks": "8", "relink": "VBRA"}
#: Token secret of simulated cabinets of the second Relink generation.
RELINK_SECRET: Final = "TESTKEY1"  # noqa: S105  # in the protocol's public test vectors


class BankSpec(Struct, frozen=True, kw_only=True):
    """One power bank and where it is at the start."""

    slot: SlotNumber
    serial: Serial
    charge_pct: Percent = 80
    cycles: Cycles = 0
    health_pct: Percent = 100
    capacity_mah: Annotated[int, Meta(ge=100, le=100_000)] = 5000


class ClaimSpec(Struct, frozen=True, kw_only=True):
    """How a native cabinet gets its credential: token and address of the claim (docs/protocol.md, 18)."""

    url: str
    token: str
    kind: Literal["certificate", "secret"] = "certificate"
    hardware_serial: str | None = None


class StationSpec(Struct, frozen=True, kw_only=True):
    """One cabinet. `secret` is its MQTT password, None where the broker asks for none.

    Vendors' cabinets: `hardware_id` is what they call themselves (IMEI, box id; the code without it), `variant` the
    revision of the guide (volinks: new, old) or the generation (relink: 2, 1), `layout` the holes of each board,
    `token_secret` what Relink's second generation makes its tokens with.
    """

    code: StationCode
    name: str
    slots: Annotated[int, Meta(ge=1, le=MAX_SLOTS)] = DEFAULT_SLOTS
    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]
    address: str = ""
    banks: tuple[BankSpec, ...] = ()
    secret: str | None = None
    dialect: DialectName = "native"
    variant: str | None = None
    hardware_id: str | None = None
    layout: tuple[SlotNumber, ...] | None = None
    token_secret: str = RELINK_SECRET
    #: Native ones; without it the broker is told the code and `secret`, if any.
    claim: ClaimSpec | None = None

    @property
    def identity(self) -> str:
        """What the cabinet calls itself."""
        return self.hardware_id or self.code

    @property
    def flavour(self) -> str:
        """The variant, or the usual one of the dialect."""
        return self.variant or next(iter(_VARIANTS[self.dialect]), "")

    def __post_init__(self) -> None:
        if self.variant is not None and self.variant not in _VARIANTS[self.dialect]:
            raise ValueError(f"{self.code}: {self.dialect} has no variant {self.variant!r}")
        if self.layout is not None and sum(self.layout) != self.slots:
            raise ValueError(f"{self.code}: the boards have {sum(self.layout)} holes, the cabinet {self.slots} slots")
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
        identities = [station.identity for station in self.stations]
        if len(set(identities)) != len(identities):
            raise ValueError("two stations share a hardware id")
        serials = [bank.serial for station in self.stations for bank in station.banks]
        if len(set(serials)) != len(serials):
            raise ValueError("two power banks share a serial")


def default_fleet(
    n: int, seed: int = 1, *, centre: tuple[float, float] = DEFAULT_CENTRE, kind: Kind = Kind.NATIVE
) -> FleetSpec:
    """`n` cabinets `VB-0001`… (`VL-`, `RL-` for vendors') of 8 slots with 5 or 6 banks each around `centre`.

    `centre`: lat, lon in degrees. The same seed gives the same fleet, and a smaller fleet is the beginning of a larger
    one.
    """
    codes = [f"{_CODE_PREFIX[kind.dialect]}-{index:04d}" for index in range(1, n + 1)]
    return FleetSpec(seed=seed, stations=tuple(_station(i, code, seed, centre, kind) for i, code in enumerate(codes)))


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


def _station(index: int, code: str, seed: int, centre: tuple[float, float], kind: Kind = Kind.NATIVE) -> StationSpec:
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
        banks=tuple(_bank(rng, index, slot, seed, _SERIAL_PREFIX[kind.dialect]) for slot in filled),
        dialect=kind.dialect,
        variant=kind.variant,
        hardware_id=_hardware_id(kind, index, seed),
    )


def _hardware_id(kind: Kind, index: int, seed: int) -> str | None:
    """IMEIs and box ids as real ones look: 15 digits, 16 characters."""
    if kind.dialect == "volinks":
        return f"86{seed % 1000:03d}{index + 1:010d}"
    return f"RL{kind.variant}H{seed % 1000:03d}{index + 1:09d}" if kind.dialect == "relink" else None


def _place(rng: Random, centre: tuple[float, float]) -> tuple[float, float]:
    north_km, east_km = (rng.uniform(-DEFAULT_RADIUS_KM, DEFAULT_RADIUS_KM) for _ in range(2))
    lat = centre[0] + north_km / _KM_PER_DEGREE
    lon = centre[1] + east_km / (_KM_PER_DEGREE * cos(radians(centre[0])))
    return round(lat, 6), round(lon, 6)


def _bank(rng: Random, index: int, slot: int, seed: int, prefix: str) -> BankSpec:
    digits = SERIAL_DIGITS - 1 if prefix.isdecimal() else SERIAL_DIGITS
    number = (index * DEFAULT_SLOTS + slot + seed * 7_919) * _SERIAL_STRIDE % 10**digits
    cycles = rng.randint(0, 400)
    return BankSpec(
        slot=slot,
        serial=f"{prefix}{number:0{digits}d}",
        charge_pct=rng.randint(55, 100),
        cycles=cycles,
        health_pct=max(70, 100 - cycles // 20 - rng.randint(0, 3)),
    )
