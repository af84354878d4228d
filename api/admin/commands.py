"""Orders to cabinets, in the words of the device protocol."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from fastapi import Response

from api.admin.acts import Acts, ActsDep
from api.admin.device_schemas import CommandsOut, EjectIn
from api.admin.schemas import Code, CommandIn, CommandOut
from api.auth import CurrentOperator
from api.commands import command_from
from api.deps import RuntimeDep, SessionDep
from api.idempotency import Idempotent
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from firmware_protocol.commands import (
    Command,
    EjectPowerBank,
    GetConfig,
    LockSlot,
    PlaySound,
    QueryInventory,
    Reboot,
    SetNetwork,
    SetVolume,
    ShowScreen,
    UnlockSlot,
    VendorCommand,
)
from firmware_protocol.dialects.registry import capabilities_of
from fleet.common.errors import InvalidInput, NotFound
from fleet.devices import orders
from fleet.devices.commands import find_command
from fleet.devices.models import DeviceCommand
from fleet.devices.queries import commands_of_station
from fleet.stations.models import Station
from fleet.stations.queries import find_station

router = area("admin", "admin")

#: Firmware, configuration, logs and credentials come with a process of their own.
_ALLOWED: Final = (
    EjectPowerBank, GetConfig, LockSlot, PlaySound, QueryInventory, Reboot, SetNetwork, SetVolume, ShowScreen,
    UnlockSlot, VendorCommand,
)  # fmt: skip


def _out(row: DeviceCommand, station: Station) -> CommandOut:
    return CommandOut(
        id=row.id,
        station=station.code,
        type=row.kind,
        args=orders.shown(row.args),
        state=row.state,
        created_at=row.created_at,
        deadline=row.deadline,
        sent_at=row.sent_at,
        settled_at=row.settled_at,
        attempt=row.attempt,
        outcome=row.outcome,
        code=row.code,
        slot=row.result_slot,
        serial=row.result_serial,
        rental_id=row.rental_id,
    )


@router.post(
    "/station/{code}/command", operation_id="admin_send_command", summary="Order a cabinet to do something",
    status_code=202, response_model=CommandOut, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def send_command(code: Code, body: CommandIn, acts: ActsDep, once: Idempotent) -> Response:
    """Queued; look at the command for its result. What the station's cabinet cannot do is refused at once (409).

    An `eject_power_bank` here is for no rental: when the bank leaves, an orphan-bank case asks for it until it is back.
    A `vendor_command` is one of the vendor's own words (`GET …/commands` lists them): not while an eject is under way,
    and only with a reason.
    """
    command = command_from(body.type, body.args, _ALLOWED)
    return once.answer(
        acts.session, acts.now, lambda: _order(acts, code, command, body.deadline_s, body.reason), status=202
    )


def _order(acts: Acts, code: str, command: Command, deadline_s: float, reason: str | None) -> CommandOut:
    row = orders.order(
        acts.session,
        code,
        command,
        within=timedelta(seconds=deadline_s),
        reason=reason,
        actor=acts.actor,
        abilities=capabilities_of,
        now=acts.now,
    )
    return _out(row, acts.session.get_one(Station, row.station_id))


@router.post(
    "/station/{code}/eject", operation_id="admin_eject", summary="Have a bank ejected, by slot or by serial",
    status_code=202, response_model=CommandOut, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def eject(code: Code, body: EjectIn, acts: ActsDep, once: Idempotent) -> Response:
    """For no rental. No rider is given the bank meanwhile; when it leaves, an orphan-bank case asks for it until it is
    back, or an operator closes the case. The same `Idempotency-Key` never ejects twice.
    """
    if body.slot is None and body.serial is None:
        raise InvalidInput("name a slot, a serial, or both", field="body.slot")
    command = EjectPowerBank(slot=body.slot, serial=body.serial)
    return once.answer(
        acts.session, acts.now, lambda: _order(acts, code, command, body.deadline_s, body.reason), status=202
    )


@router.get(
    "/station/{code}/commands", operation_id="admin_station_commands", summary="What a cabinet can be ordered to do",
    responses=problems(401, 403, 404),
)  # fmt: skip
def station_commands(code: Code, session: SessionDep, _: CurrentOperator) -> CommandsOut:
    station = find_station(session, code)
    able = capabilities_of(station.dialect)
    return CommandsOut(
        station=code,
        dialect=station.dialect,
        commands=orders.supported(station, able),
        vendor_commands={} if able is None else {name: list(args) for name, args in able.vendor_commands.items()},
    )


@router.get(
    "/command/{command_id}", operation_id="admin_get_command", summary="What became of a command",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_command(command_id: UUID, session: SessionDep, _: CurrentOperator) -> CommandOut:
    """`unknown`: the cabinet has not answered in time; its inventory will tell."""
    row = find_command(session, str(command_id))
    if row is None:
        raise NotFound("there is no such command", command_id=command_id)
    return _out(row, session.get_one(Station, row.station_id))


@router.get(
    "/station/{code}/command", operation_id="admin_list_commands", summary="What a cabinet was ordered, newest first",
    responses=problems(401, 403, 404),
)  # fmt: skip
def list_commands(
    code: Code,
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[CommandOut]:
    station = find_station(session, code)
    before = runtime.cursors.read("commands", cursor)
    rows = commands_of_station(session, station.id, limit=limit + 1, before=UUID(before) if before else None)
    more = runtime.cursors.make("commands", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[_out(row, station) for row in rows[:limit]], next=more)
