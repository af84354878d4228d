"""The slots and banks that one event is about, locked, and where the event stands among the others."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import ColumnElement, Integer, String, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from firmware_protocol.types import SlotState
from fleet.common.objects import Gathered
from fleet.common.prepared import Prepared
from fleet.stations.errors import NoSuchSlot
from fleet.stations.models import PowerBank, PowerBankState, StationSlot

#: What a bank is while it is out; being in a slot ends it, unless somebody set it on purpose.
OUTSIDE: Final = frozenset({PowerBankState.RENTED, PowerBankState.MISSING, PowerBankState.LOST})


def _locked(model: type[StationSlot | PowerBank], condition: ColumnElement[bool]) -> Prepared:
    """By id. NO KEY UPDATE: a start that refers to the row need not wait for its key."""
    return Prepared(select(model.id).where(condition).order_by(model.id).with_for_update(key_share=True), planned=True)


_NAMED: Final = PowerBank.serial == any_(bindparam("serials", type_=ARRAY(String())))
#: As an array: beside OR, a subquery would make it a look at every slot there is.
_THOSE_NAMED: Final = func.array(select(PowerBank.id).where(_NAMED).correlate(None).scalar_subquery())
_HOLDS_NAMED: Final = StationSlot.power_bank_id == any_(_THOSE_NAMED)
_OF_STATION: Final = StationSlot.station_id == bindparam("station_id", type_=Integer())
_NUMBERED: Final = StationSlot.number == any_(bindparam("numbers", type_=ARRAY(Integer())))


class Seen(NamedTuple):
    """Slots, and the banks in them with those named: how they are locked, and what is read behind the locks."""

    locks: tuple[Prepared, ...]
    parts: tuple[tuple[type[StationSlot | PowerBank], ColumnElement[bool]], ...]


def _seen(here: ColumnElement[bool]) -> Seen:
    slots = or_(here, _HOLDS_NAMED)
    held = func.array(select(StationSlot.power_bank_id).where(here).correlate(None).scalar_subquery())
    banks = or_(_NAMED, PowerBank.id == any_(held))
    return Seen((_locked(StationSlot, slots), _locked(PowerBank, banks)), ((StationSlot, slots), (PowerBank, banks)))


#: Built once: every event of a bank asks them. Parameters: `station_id`, `serials`, and `numbers` of `SOME`.
ALL: Final = _seen(_OF_STATION)
SOME: Final = _seen(_OF_STATION & _NUMBERED)
_LOOK_AT_ALL: Final = Gathered(ALL.locks, *ALL.parts)
_LOOK_AT_SOME: Final = Gathered(SOME.locks, *SOME.parts)
#: Asks for slots and banks again, with whatever else its caller wants.
Ask = Callable[[], tuple[list[StationSlot], list[PowerBank]]]


class SlotRegister(Protocol):
    """The newest event about a slot."""

    @property
    def observed_boot(self) -> int: ...

    @property
    def observed_seq(self) -> int: ...

    @property
    def observed_at(self) -> datetime | None: ...


class BankRegister(Protocol):
    """The newest event about where a bank is."""

    @property
    def seen_station_id(self) -> int | None: ...

    @property
    def seen_boot(self) -> int: ...

    @property
    def seen_seq(self) -> int: ...

    @property
    def seen_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Observation:
    """One event of one cabinet. `at` is on the backend's clock."""

    station_id: int
    boot: int
    seq: int
    at: datetime
    #: A picture that was taken at some time between this and `at`: what was told in between may be newer. Only of
    #: cabinets that do not number what they tell.
    taken_since: datetime | None = None

    def newer_than_slot(self, slot: SlotRegister) -> bool:
        return (self.boot, self.seq) > (slot.observed_boot, slot.observed_seq) and not self._overtaken(slot.observed_at)

    def newer_than_bank(self, bank: BankRegister) -> bool:
        """Within a station by the cabinet's own count; between stations by time, and the id where times are equal."""
        if bank.seen_station_id is None or bank.seen_at is None:
            return True
        if bank.seen_station_id == self.station_id:
            newer = (self.boot, self.seq) > (bank.seen_boot, bank.seen_seq)
            return newer and not self._overtaken(bank.seen_at)
        return (self.taken_since or self.at, self.station_id) > (bank.seen_at, bank.seen_station_id)

    def _overtaken(self, told_at: datetime | None) -> bool:
        return self.taken_since is not None and told_at is not None and told_at > self.taken_since


class Picture:
    """What is known of some slots of one station, of the banks named and of the slots that hold those."""

    def __init__(
        self, session: Session, station_id: int, slots: Iterable[StationSlot], banks: Iterable[PowerBank]
    ) -> None:
        self._session = session
        self.station_id = station_id
        every = list(slots)
        self.slots = {slot.number: slot for slot in every if slot.station_id == station_id}
        self._holding = {slot.power_bank_id: slot for slot in every if slot.power_bank_id is not None}
        self._by_id = {bank.id: bank for bank in banks}
        self.banks = {bank.serial: bank for bank in self._by_id.values()}
        self._freed = False

    def slot(self, number: int) -> StationSlot:
        """Raises NoSuchSlot."""
        try:
            return self.slots[number]
        except KeyError:
            raise NoSuchSlot(f"the station has no slot {number}", slot=number, field="slot") from None

    def bank_in(self, slot: StationSlot) -> PowerBank | None:
        return None if slot.power_bank_id is None else self._by_id[slot.power_bank_id]

    def slot_with(self, bank: PowerBank) -> StationSlot | None:
        """The slot that holds the bank, in whatever station."""
        return self._holding.get(bank.id)

    def put(self, bank: PowerBank, slot: StationSlot) -> None:
        """Into an empty or freed slot; the database is told of what was freed first, for a bank is in one slot only."""
        if self._freed:
            self._session.flush()
            self._freed = False
        slot.power_bank_id = bank.id
        self._holding[bank.id] = slot
        if bank.state in OUTSIDE and bank.state_set_by is None:
            bank.state = PowerBankState.AVAILABLE

    def take(self, bank: PowerBank) -> None:
        """Out of whatever slot holds it. What it is out for is for the caller to say."""
        slot = self._holding.pop(bank.id, None)
        if slot is not None:
            slot.power_bank_id, slot.state = None, SlotState.EMPTY
            self._freed = True
        if bank.state is PowerBankState.AVAILABLE:
            bank.state = PowerBankState.MISSING


def look(
    session: Session, station_id: int, numbers: Collection[int] | None, serials: Collection[str], now: datetime
) -> Picture:
    """Lock slots (`numbers` None: all of the station), the banks in them, the banks named, and where those are.

    Serials that nobody entered become foreign banks. Slots before banks, each by id, everywhere.
    """
    values = asked(station_id, numbers, serials)
    gathered = _LOOK_AT_ALL if numbers is None else _LOOK_AT_SOME

    def ask() -> tuple[list[StationSlot], list[PowerBank]]:
        slots, banks = gathered.all(session, **values)
        return slots, banks

    return settle(session, ask, station_id=station_id, numbers=numbers, serials=serials, now=now)


def asked(station_id: int, numbers: Collection[int] | None, serials: Collection[str]) -> dict[str, Any]:
    """The parameters of `ALL` (`numbers` None) or `SOME`."""
    values: dict[str, Any] = {"station_id": station_id, "serials": sorted(set(serials))}
    return values if numbers is None else {**values, "numbers": sorted(set(numbers))}


def settle(
    session: Session,
    ask: Ask,
    *,
    station_id: int,
    numbers: Collection[int] | None,
    serials: Collection[str],
    now: datetime,
) -> Picture:
    """The picture of what `ask` locks and reads, which is asked again until all of it is locked."""
    slots, banks = ask()
    missing = set(serials) - {bank.serial for bank in banks}
    if missing:
        _report_foreign(session, sorted(missing), now)
        slots, banks = ask()
    if not all(slot.station_id == station_id and (numbers is None or slot.number in numbers) for slot in slots):
        # A bank that is named may have been moved there by another transaction before it could be locked here. Now it
        # is, and the second time finds its slot where the first one left it.
        slots, banks = ask()
    return Picture(session, station_id, slots, banks)


def _report_foreign(session: Session, serials: Collection[str], now: datetime) -> None:
    rows = [{"serial": serial, "known": False, "created_at": now, "updated_at": now} for serial in serials]
    session.execute(insert(PowerBank).values(rows).on_conflict_do_nothing(index_elements=["serial"]))
