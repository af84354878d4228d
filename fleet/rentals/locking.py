"""One order of locks for whatever changes a rental: commands, riders' wallets, rentals, slots, banks; each by id."""

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    DateTime,
    Integer,
    String,
    Uuid,
    and_,
    any_,
    bindparam,
    false,
    func,
    literal,
    or_,
    select,
    text,
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from fleet.common.objects import Gathered
from fleet.common.prepared import Prepared
from fleet.devices.models import DeviceCommand
from fleet.payments.models import AccountKind, LedgerAccount
from fleet.rentals.models import IS_OPEN, Rental, RentalState
from fleet.stations.models import PowerBank, StationSlot
from fleet.stations.picture import ALL, SOME, Picture, asked, settle

_IDS: Final = bindparam("ids", type_=ARRAY(Uuid()))
_OF_RENTALS_OR_NAMED: Final = or_(
    DeviceCommand.rental_id == any_(_IDS), DeviceCommand.id == any_(bindparam("command_ids", type_=ARRAY(Uuid())))
)
_COMMANDS: Final = Prepared(
    select(DeviceCommand.id).where(_OF_RENTALS_OR_NAMED).order_by(DeviceCommand.id).with_for_update(), planned=True
)
_WALLETS: Final = Prepared(
    select(LedgerAccount.id)
    .where(
        LedgerAccount.owner_id.in_(select(Rental.user_id).where(Rental.id == any_(_IDS))),
        LedgerAccount.kind == AccountKind.WALLET,
    )
    .order_by(LedgerAccount.id)
    .with_for_update(key_share=True),
    planned=True,
)
_THESE: Final = Rental.id == any_(_IDS)
_RENTALS: Final = Prepared(
    select(Rental.id).where(_THESE).order_by(Rental.id).with_for_update(key_share=True), planned=True
)
_LOCKS: Final = (_COMMANDS, _WALLETS, _RENTALS)
_PARTS: Final = ((DeviceCommand, _OF_RENTALS_OR_NAMED), (Rental, _THESE))
_COMMANDED: Final = Gathered(_LOCKS, *_PARTS)
_WITH_ALL: Final = Gathered((*_LOCKS, *ALL.locks), *_PARTS, *ALL.parts)
_WITH_SOME: Final = Gathered((*_LOCKS, *SOME.locks), *_PARTS, *SOME.parts)


class Around(NamedTuple):
    """A rental that an event may be about, as it was before anything was locked."""

    rental_id: UUID
    slot_out: int
    serial: str
    #: It is the one that the command was for.
    ordered: bool


def _around(*slots: ColumnElement[bool]) -> Prepared:
    command = (
        select(DeviceCommand.rental_id)
        .where(
            DeviceCommand.id == bindparam("command_id", type_=Uuid()),
            DeviceCommand.station_id == bindparam("station_id"),
        )
        .cte("command")
    )
    named = select(command.c.rental_id).scalar_subquery()
    banks: CompoundSelect[int] = union_all(
        select(StationSlot.power_bank_id).where(
            StationSlot.station_id == bindparam("station_id"), StationSlot.power_bank_id.is_not(None), *slots
        ),
        select(PowerBank.id).where(PowerBank.serial == any_(bindparam("serials", type_=ARRAY(String())))),
        select(Rental.power_bank_id).where(Rental.id == named),
    )
    serial = select(PowerBank.serial).where(PowerBank.id == Rental.power_bank_id).scalar_subquery()
    found = select(Rental.id, Rental.slot_out, serial, func.coalesce(Rental.id == named, false()))
    # Each part by an index of its own: joined by OR they would be a look at every open rental there is.
    open_ = found.where(text(IS_OPEN), Rental.power_bank_id.in_(banks))
    return Prepared(union(open_, found.where(Rental.id == named)), planned=True)


def kept_without_bank() -> ColumnElement[bool]:
    """Of a rental: closed without its bank, which counts as bought or lost; disputed or not."""
    disputed = and_(Rental.state == RentalState.DISPUTED, Rental.ended_at == Rental.buyout_at)
    return and_(Rental.station_in_id.is_(None), or_(Rental.state == RentalState.BOUGHT_OUT, disputed))


_CLOSED_STATES: Final = [RentalState.COMPLETED.value, RentalState.BOUGHT_OUT.value, RentalState.DISPUTED.value]
_CLOSED: Final = Prepared(
    select(Rental.id)
    .join(PowerBank, PowerBank.id == Rental.power_bank_id)
    .where(
        PowerBank.serial == any_(bindparam("serials", type_=ARRAY(String()))),
        Rental.state == any_(literal(_CLOSED_STATES, ARRAY(String()))),
        or_(Rental.ended_at > bindparam("since", type_=DateTime(timezone=True)), kept_without_bank()),
    ),
    planned=True,
)
_AROUND_ALL: Final = _around()
_AROUND: Final = _around(StationSlot.number == any_(bindparam("numbers", type_=ARRAY(Integer()))))


def lock_rentals(
    session: Session, rental_ids: Collection[UUID], command_ids: Collection[UUID] = ()
) -> dict[UUID, Rental]:
    """The rentals as they are now, locked with their commands and their riders' wallets; further commands if named.

    A command that was given while this waited for the rental is there as well, and not locked.
    """
    if not (rental_ids or command_ids):
        return {}
    _, rentals = _COMMANDED.all(session, ids=list(rental_ids), command_ids=list(command_ids))
    return {rental.id: rental for rental in rentals}


class Locked(NamedTuple):
    """By id, as they are now."""

    rentals: dict[UUID, Rental]
    commands: dict[UUID, DeviceCommand]
    picture: Picture


def lock_with_slots(
    session: Session,
    rental_ids: Collection[UUID],
    command_ids: Collection[UUID],
    *,
    station_id: int,
    numbers: Collection[int] | None,
    serials: Collection[str],
    now: datetime,
) -> Locked:
    """`lock_rentals`, and `picture.look` at the station, in one message."""
    values = {**asked(station_id, numbers, serials), "ids": list(rental_ids), "command_ids": list(command_ids)}
    gathered = _WITH_ALL if numbers is None else _WITH_SOME
    commands: list[DeviceCommand] = []
    rentals: list[Rental] = []

    def ask() -> tuple[list[StationSlot], list[PowerBank]]:
        commands[:], rentals[:], slots, banks = gathered.all(session, **values)
        return slots, banks

    picture = settle(session, ask, station_id=station_id, numbers=numbers, serials=serials, now=now)
    return Locked({each.id: each for each in rentals}, {each.id: each for each in commands}, picture)


def rentals_around(
    session: Session,
    station_id: int,
    numbers: Collection[int] | None,
    serials: Collection[str],
    command_id: UUID | None = None,
) -> list[Around]:
    """Open rentals of the banks named and of the banks in these slots (None: all of the station); the rental that this
    command of the station was for, open or not, and who else has its bank. Not locked.
    """
    asked = {"station_id": station_id, "serials": list(serials), "command_id": command_id}
    if numbers is None:
        return [Around(*row) for row in _AROUND_ALL.all(session, **asked)]
    return [Around(*row) for row in _AROUND.all(session, **asked, numbers=list(numbers))]


def closed_rentals_of(session: Session, serials: Collection[str], since: datetime) -> list[UUID]:
    """Closed rentals of these banks that word of a return at `since` is about: they ended later, or without the bank.

    Not locked.
    """
    return [row[0] for row in _CLOSED.all(session, serials=list(serials), since=since)]


def slot_out(session: Session, rental: Rental, *, lock: bool = False) -> StationSlot:
    """The slot that the rental's bank is, or was, to leave from; `lock`: locked, and as it is now."""
    query = select(StationSlot).where(
        StationSlot.station_id == rental.station_out_id, StationSlot.number == rental.slot_out
    )
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    return session.scalars(query).one()
