"""What operators order cabinets to do: checked against what the cabinet can do and against what moves there."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from msgspec import structs
from sqlalchemy import exists, select
from sqlalchemy.orm import Session, joinedload

from firmware_protocol.commands import (
    Command,
    EjectPowerBank,
    LockSlot,
    Reboot,
    UnlockSlot,
    VendorCommand,
)
from firmware_protocol.dialect import Capabilities
from fleet.common.errors import InvalidInput
from fleet.devices.commands import EJECT, SECRETS, kind_of, queue_command
from fleet.devices.errors import BankNotThere, CommandNotSupported, EjectUnderWay, SlotReserved
from fleet.devices.models import CommandState, DeviceCommand
from fleet.stations.models import PowerBank, Station, StationSlot
from fleet.stations.queries import find_station
from fleet.users import audit
from fleet.users.audit import Actor

#: Looks up what a dialect's cabinets can do; None for a dialect that this build does not speak.
Abilities = Callable[[str], Capabilities | None]
#: After an operator's order no rider is given that bank until the cabinet has certainly answered.
_ANSWERED_WITHIN: Final = timedelta(seconds=30)
_MOVING: Final = (CommandState.QUEUED, CommandState.SENT)


def order(
    session: Session,
    code: str,
    command: Command,
    *,
    within: timedelta,
    reason: str | None,
    actor: Actor,
    abilities: Abilities,
    now: datetime,
) -> DeviceCommand:
    """Queue a command for a station and note who ordered it.

    An eject names slot and bank, so that both must agree or nothing moves; when the bank leaves, an orphan-bank case of
    its own asks for it until it is back. Raises StationNotFound, CommandNotSupported, InvalidInput (no such slot, wrong
    arguments), BankNotThere, SlotReserved, EjectUnderWay.
    """
    station = find_station(session, code)
    able = abilities(station.dialect)
    check_able(station, kind_of(command), able)
    if isinstance(command, EjectPowerBank):
        command = _aimed(session, station, command, until=now + within + _ANSWERED_WITHIN)
    elif isinstance(command, LockSlot | UnlockSlot):
        _slot(session, station, command.slot)
    elif isinstance(command, Reboot | VendorCommand):
        _check_nothing_moves(session, station)
    if isinstance(command, VendorCommand):
        _check_vendors_own(station, command, able, reason)
    row = queue_command(
        session,
        station_id=station.id,
        command=command,
        deadline=now + within,
        now=now,
        requested_by=actor.user_id,
        request_id=actor.request_id,
    )
    audit.act(
        session, actor, f"command.{row.kind}", code, now, reason=reason, command_id=str(row.id), args=shown(row.args)
    )
    return row


def supported(station: Station, able: Capabilities | None) -> list[str]:
    """`type` of every command that can be ordered of the station."""
    del station  # one day a cabinet's revision may count, too
    return [] if able is None else sorted(able.commands)


def check_able(station: Station, kind: str, able: Capabilities | None) -> None:
    """Raises CommandNotSupported."""
    if able is None or kind not in able.commands:
        raise CommandNotSupported(
            f"a cabinet that speaks {station.dialect} has no {kind}",
            station=station.code,
            dialect=station.dialect,
            command=kind,
            supported=supported(station, able),
        )


def _check_vendors_own(station: Station, command: VendorCommand, able: Capabilities | None, reason: str | None) -> None:
    """Nobody tests these words but the vendor, and some take a cabinet from the network: never without a reason."""
    known = {} if able is None else able.vendor_commands
    if command.name not in known:
        raise CommandNotSupported(
            f"a cabinet that speaks {station.dialect} has no {command.name!r}",
            station=station.code,
            dialect=station.dialect,
            command=command.name,
            supported=sorted(known),
        )
    given = {name for name in ("data", "wifi_ssid", "wifi_password") if getattr(command, name) is not None}
    if given != set(known[command.name]):
        wanted = " and ".join(known[command.name]) or "no argument"
        raise InvalidInput(f"{command.name} takes {wanted}", field="args", expected=list(known[command.name]))
    if not reason:
        raise InvalidInput(f"{command.name} is ordered with a reason", field="reason")


def shown(args: dict[str, Any]) -> dict[str, Any]:
    """A command's arguments for people and logs: without passwords."""
    return {name: "***" if name in SECRETS else value for name, value in args.items()}


def _aimed(session: Session, station: Station, eject: EjectPowerBank, *, until: datetime) -> EjectPowerBank:
    """The order with slot and serial as far as the books know them; its slot is given to no rider meanwhile."""
    slot = _slot(session, station, eject.slot) if eject.slot is not None else _holding(session, station, eject.serial)
    if slot.reserved_for is not None:
        raise SlotReserved(f"a rider waits for the bank in slot {slot.number}", station=station.code, slot=slot.number)
    slot.watched_until = max(slot.watched_until or until, until)
    serial = eject.serial
    if serial is None and slot.power_bank is not None:
        serial = slot.power_bank.serial
    return structs.replace(eject, slot=slot.number, serial=serial)


def _slot(session: Session, station: Station, number: int) -> StationSlot:
    query = select(StationSlot).where(StationSlot.station_id == station.id, StationSlot.number == number)
    slot = _locked(session, query)
    if slot is None:
        raise InvalidInput(
            f"station {station.code} has {station.slot_count} slots", field="slot", slots=station.slot_count
        )
    return slot


def _holding(session: Session, station: Station, serial: str | None) -> StationSlot:
    query = select(StationSlot).join(StationSlot.power_bank).where(PowerBank.serial == serial)
    slot = _locked(session, query)
    if slot is None or slot.station_id != station.id:
        place = None if slot is None else f"{session.get_one(Station, slot.station_id).code}/{slot.number}"
        raise BankNotThere(f"{serial} is not in {station.code}", serial=serial, station=station.code, place=place)
    return slot


def _locked(session: Session, query: Any) -> StationSlot | None:
    query = query.options(joinedload(StationSlot.power_bank)).with_for_update(of=StationSlot, key_share=True)
    found: StationSlot | None = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    return found


def _check_nothing_moves(session: Session, station: Station) -> None:
    moving = exists().where(
        DeviceCommand.station_id == station.id, DeviceCommand.kind == EJECT, DeviceCommand.state.in_(_MOVING)
    )
    if session.scalar(select(moving)):
        raise EjectUnderWay(f"an eject is under way at {station.code}", station=station.code)
