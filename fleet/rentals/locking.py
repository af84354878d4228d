"""One order of locks for whatever changes a rental: commands, riders' wallets, rentals, slots, banks; each by id."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from fleet.common.plans import PLANNED
from fleet.devices.models import DeviceCommand
from fleet.payments.models import AccountKind, LedgerAccount
from fleet.rentals.models import OPEN_STATES, Rental
from fleet.stations.models import PowerBank, StationSlot


def lock_rentals(
    session: Session, rental_ids: Collection[UUID], command_ids: Collection[UUID] = ()
) -> dict[UUID, Rental]:
    """The rentals as they are now, locked with their commands and their riders' wallets; further commands if named."""
    ids = list(rental_ids)
    if ids or command_ids:
        commands = select(DeviceCommand).where(or_(DeviceCommand.rental_id.in_(ids), DeviceCommand.id.in_(command_ids)))
        commands = commands.order_by(DeviceCommand.id).with_for_update()
        session.scalars(commands.execution_options(populate_existing=True, **PLANNED)).all()
    if not ids:
        return {}
    riders = select(Rental.user_id).where(Rental.id.in_(ids))
    lock_wallets = (
        select(LedgerAccount.id)
        .where(LedgerAccount.owner_id.in_(riders), LedgerAccount.kind == AccountKind.WALLET)
        .order_by(LedgerAccount.id)
        .with_for_update(key_share=True)
        .execution_options(**PLANNED)
    )
    session.execute(lock_wallets).all()
    rentals = select(Rental).where(Rental.id.in_(ids)).order_by(Rental.id).with_for_update(key_share=True)
    found = session.scalars(rentals.execution_options(populate_existing=True, **PLANNED))
    return {rental.id: rental for rental in found}


def open_rentals_around(
    session: Session, station_id: int, numbers: Collection[int] | None, serials: Collection[str]
) -> list[UUID]:
    """Open rentals of the banks named and of the banks in these slots (None: all of the station). Not locked."""
    in_slots = select(StationSlot.power_bank_id).where(
        StationSlot.station_id == station_id, StationSlot.power_bank_id.is_not(None)
    )
    if numbers is not None:
        in_slots = in_slots.where(StationSlot.number.in_(numbers))
    named = select(PowerBank.id).where(PowerBank.serial.in_(serials))
    query = select(Rental.id).where(
        Rental.state.in_(OPEN_STATES), or_(Rental.power_bank_id.in_(in_slots), Rental.power_bank_id.in_(named))
    )
    return list(session.scalars(query.execution_options(**PLANNED)))


def slot_out(session: Session, rental: Rental, *, lock: bool = False) -> StationSlot:
    """The slot that the rental's bank is, or was, to leave from; `lock`: locked, and as it is now."""
    query = select(StationSlot).where(
        StationSlot.station_id == rental.station_out_id, StationSlot.number == rental.slot_out
    )
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    return session.scalars(query).one()
