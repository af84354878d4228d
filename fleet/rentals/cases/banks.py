"""What operators decide about power banks, noted with what it was before and why. No cabinet undoes it."""

from datetime import datetime
from typing import Final

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from fleet.common.notify import Channel, notify
from fleet.rentals.errors import BankIsHere, BankNotHeld
from fleet.rentals.models import OPEN_STATES, Rental
from fleet.stations.errors import BankNotFound
from fleet.stations.models import PowerBank, PowerBankState, Station, StationSlot
from fleet.users import audit
from fleet.users.audit import Actor

SET_BY: Final = "operator"
#: What an operator may set. A bank that is with a rider stays with the rider; the state holds when it comes back.
HELD: Final = frozenset(
    {PowerBankState.MAINTENANCE, PowerBankState.DAMAGED, PowerBankState.QUARANTINED, PowerBankState.LOST}
)


def hold(
    session: Session, serial: str, state: PowerBankState, *, reason: str, actor: Actor, now: datetime
) -> PowerBank:
    """Keep a bank from riders: `state` is one of HELD. Raises BankNotFound, BankIsHere (LOST, and it is in a slot)."""
    if state not in HELD:
        raise ValueError(f"{state} is for cabinets and rentals to say")
    slot, bank = _locked(session, serial)
    if state is PowerBankState.LOST and slot is not None:
        place = f"{session.get_one(Station, slot.station_id).code}/{slot.number}"
        raise BankIsHere(f"{serial} is in {place}", serial=serial, place=place)
    return _set(session, bank, slot, state, reason, action=f"bank.{state}", why=reason, actor=actor, now=now)


def release(session: Session, serial: str, *, reason: str, actor: Actor, now: datetime) -> PowerBank:
    """Give a bank back to the fleet, whoever held it: available in its slot, rented with its rider, or missing.

    Raises BankNotFound, BankNotHeld.
    """
    slot, bank = _locked(session, serial)
    if bank.state not in HELD:
        raise BankNotHeld(f"{serial} is {bank.state}: nobody holds it", serial=serial, state=bank.state)
    state = _where_it_is(session, bank, slot)
    return _set(session, bank, slot, state, None, action="bank.release", why=reason, actor=actor, now=now)


def adopt(session: Session, serial: str, *, reason: str | None, actor: Actor, now: datetime) -> PowerBank:
    """A foreign bank that a cabinet reported is the fleet's from now on. Again changes nothing. Raises BankNotFound."""
    slot, bank = _locked(session, serial)
    before = bank.known
    bank.known, bank.updated_at = True, now
    audit.act(
        session,
        actor,
        "bank.adopt",
        target_of(serial),
        now,
        reason=reason,
        before={"known": before},
        after={"known": True},
    )
    _tell(session, slot)
    return bank


def target_of(serial: str) -> str:
    """A bank's name in the audit log."""
    return f"bank:{serial}"


def _locked(session: Session, serial: str) -> tuple[StationSlot | None, PowerBank]:
    """The bank and the slot that holds it, locked: slots before banks, as facts do."""
    in_slot = select(StationSlot).join(PowerBank, PowerBank.id == StationSlot.power_bank_id)
    in_slot = in_slot.where(PowerBank.serial == serial).with_for_update(of=StationSlot, key_share=True)
    slot = session.scalars(in_slot.execution_options(populate_existing=True)).one_or_none()
    query = select(PowerBank).where(PowerBank.serial == serial).with_for_update(key_share=True)
    bank = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if bank is None:
        raise BankNotFound(f"no bank {serial}", serial=serial)
    if slot is None or slot.power_bank_id != bank.id:
        # It may have come or gone between the two locks; its own row does not move any more now.
        again = select(StationSlot).where(StationSlot.power_bank_id == bank.id)
        slot = session.scalars(again.execution_options(populate_existing=True)).one_or_none()
    return slot, bank


def _where_it_is(session: Session, bank: PowerBank, slot: StationSlot | None) -> PowerBankState:
    if slot is not None:
        return PowerBankState.AVAILABLE
    rented = exists().where(Rental.power_bank_id == bank.id, Rental.state.in_(OPEN_STATES))
    return PowerBankState.RENTED if session.scalar(select(rented)) else PowerBankState.MISSING


def _set(
    session: Session,
    bank: PowerBank,
    slot: StationSlot | None,
    state: PowerBankState,
    reason: str | None,
    *,
    action: str,
    why: str,
    actor: Actor,
    now: datetime,
) -> PowerBank:
    before = {"state": bank.state, "reason": bank.quarantine_reason, "set_by": bank.state_set_by}
    bank.state, bank.quarantine_reason, bank.updated_at = state, reason, now
    bank.state_set_by = SET_BY if state in HELD else None
    after = {"state": bank.state, "reason": bank.quarantine_reason, "set_by": bank.state_set_by}
    audit.act(session, actor, action, target_of(bank.serial), now, reason=why, before=before, after=after)
    _tell(session, slot)
    return bank


def _tell(session: Session, slot: StationSlot | None) -> None:
    if slot is not None:
        notify(session, Channel.STATION, str(slot.station_id))
