"""Orders to cabinets, in the words of the device protocol."""

from datetime import timedelta
from typing import Final
from uuid import UUID

import msgspec
from fastapi import Response

from api.admin.acts import ActsDep
from api.admin.schemas import Code, CommandIn, CommandOut
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.idempotency import Idempotent
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.schemas import Cursor, Limit, Page
from api.v1 import area
from firmware_protocol.commands import (
    CollectLogs,
    Command,
    EjectPowerBank,
    GetConfig,
    LockSlot,
    PlaySound,
    QueryInventory,
    Reboot,
    SetConfig,
    SetVolume,
    ShowScreen,
    UnlockSlot,
)
from fleet.common.errors import InvalidInput, NotFound
from fleet.devices.commands import find_command, queue_command
from fleet.devices.models import DeviceCommand
from fleet.devices.queries import commands_of_station
from fleet.stations.models import Station
from fleet.stations.queries import find_station

router = area("admin", "admin")

#: Firmware, credentials and network settings are not for a form: they come with a process of their own.
_ALLOWED: Final = (
    CollectLogs, EjectPowerBank, GetConfig, LockSlot, PlaySound, QueryInventory, Reboot, SetConfig, SetVolume,
    ShowScreen, UnlockSlot,
)  # fmt: skip


def _command(body: CommandIn) -> Command:
    try:
        command = msgspec.convert({**body.args, "type": body.type}, Command)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error), field="body.args" if "`$.type`" not in str(error) else "body.type") from error
    if not isinstance(command, _ALLOWED):
        raise InvalidInput(f"{body.type} cannot be ordered here", field="body.type")
    return command


def _out(row: DeviceCommand, station: Station) -> CommandOut:
    return CommandOut(
        id=row.id,
        station=station.code,
        type=row.kind,
        args=row.args,
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
    """Queued; look at the command for its result. An `eject_power_bank` here is for no rental."""
    command = _command(body)

    def work() -> CommandOut:
        station = find_station(acts.session, code)
        row = queue_command(
            acts.session,
            station_id=station.id,
            command=command,
            deadline=acts.now + timedelta(seconds=body.deadline_s),
            now=acts.now,
            requested_by=acts.operator.id,
            request_id=acts.request_id,
        )
        detail = {"command_id": str(row.id), "args": body.args, "reason": body.reason}
        acts.record(f"command.{body.type}", target=code, detail=detail)
        return _out(row, station)

    return once.answer(acts.session, acts.now, work, status=202)


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
