"""What partners order their cabinets to do, and the log of it."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Response
from pydantic import ConfigDict, Field

from api.commands import command_from
from api.deps import Address, Now, RequestId, RuntimeDep, SessionDep
from api.idempotency import Idempotent
from api.paging import DEFAULT_LIMIT
from api.partners.access import PortalDep
from api.partners.schemas import StationCode
from api.problems import problems
from api.schemas import Cursor, Input, Instant, Limit, Page, Schema
from api.v1 import area
from firmware_protocol.dialects.registry import capabilities_of
from fleet.devices import orders
from fleet.devices.models import CommandState
from fleet.partners import commands
from fleet.partners.commands import Logged, Wish
from fleet.users.audit import Actor

router = area("partner", "partners")


class PartnerCommandIn(Input):
    """`play_sound`, `query_inventory`, `reboot` or `set_volume`, with its members (docs/protocol.md)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"type": "set_volume", "args": {"volume_pct": 40}, "reason": "it is a library"}]
        }
    )

    type: Annotated[str, Field(max_length=40, examples=["reboot"])]
    args: Annotated[dict[str, Any], Field(default_factory=dict)]
    reason: Annotated[str | None, Field(max_length=300)] = None


class PartnerCommandOut(Schema):
    id: UUID
    station: str
    partner_id: UUID
    partner: str
    by: Annotated[UUID | None, Field(description="the person")]
    type: str
    args: dict[str, Any]
    reason: str | None
    state: CommandState
    outcome: str | None
    created_at: Instant
    settled_at: Instant | None

    @classmethod
    def of(cls, row: Logged) -> "PartnerCommandOut":
        return cls(
            id=row.command.id,
            station=row.station,
            partner_id=row.partner.id,
            partner=row.partner.name,
            by=row.command.requested_by,
            type=row.command.kind,
            args=orders.shown(row.command.args),
            reason=row.reason,
            state=row.command.state,
            outcome=row.command.outcome,
            created_at=row.command.created_at,
            settled_at=row.command.settled_at,
        )


@router.post(
    "/station/{code}/command", operation_id="partner_send_command", summary="Order one of our cabinets to do something",
    status_code=202, response_model=PartnerCommandOut, responses=problems(401, 403, 404, 409),
)  # fmt: skip
def send_command(
    code: StationCode,
    body: PartnerCommandIn,
    session: SessionDep,
    portal: PortalDep,
    now: Now,
    once: Idempotent,
    *,
    request_id: RequestId,
    address: Address,
) -> Response:
    """Queued; `GET /partner/command` shows what became of it. Nothing here moves a bank."""
    wish = Wish(code, command_from(body.type, body.args, commands.ALLOWED), body.reason)
    actor = Actor(user_id=portal.user.id, request_id=request_id, address=address)

    def work() -> PartnerCommandOut:
        made = commands.order(session, portal.partner, wish, actor=actor, abilities=capabilities_of, now=now)
        return PartnerCommandOut.of(made)

    return once.answer(session, now, work, status=202)


@router.get("/command", operation_id="partner_commands", summary="What we and our vendors ordered, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_commands(
    session: SessionDep, runtime: RuntimeDep, portal: PortalDep, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[PartnerCommandOut]:
    before = runtime.cursors.read("partner commands", cursor)
    rows = commands.sent(session, portal.partner, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("partner commands", str(rows[limit - 1].command.id)) if len(rows) > limit else None
    return Page(items=[PartnerCommandOut.of(row) for row in rows[:limit]], next=more)
