"""What operators enter and see of vendors' cabinets: secret, tolerance, layout, what was refused."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, SecretStr
from sqlalchemy.orm import Session

from api.admin.acts import ActsDep
from api.admin.schemas import Code
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.problems import problems
from api.schemas import Input, Instant, Schema
from api.v1 import area
from fleet.devices import cabinets, profiles
from fleet.devices.cabinets import CabinetChange
from fleet.devices.vendor_models import DeviceProfile
from fleet.stations.models import Station
from fleet.stations.queries import find_station

router = area("admin", "admin")


class CabinetPatch(Input):
    """What is absent stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tolerate_checksum": True}]})

    secret: Annotated[
        SecretStr | None,
        Field(
            min_length=1,
            max_length=128,
            description="what a Relink cabinet makes its tokens with, or a Volinks cabinet's password at the broker"
            " (12 characters or more); never shown",
        ),
    ] = None
    tolerate_checksum: Annotated[bool | None, Field(description="read frames with a wrong check byte")] = None
    revision: Annotated[
        Literal["old", "new"] | None,
        Field(description="of the guide that a Volinks cabinet goes by; otherwise learnt from its frames"),
    ] = None
    forget_layout: Annotated[bool, Field(description="the next complete inventory is a new layout")] = False
    readmit: Annotated[bool, Field(description="let a cabinet in again that was revoked")] = False


class CabinetOut(Schema):
    """`layout`: the numbers of the holes, board by board."""

    code: str
    dialect: str
    hardware_id: str | None
    has_secret: bool
    tolerate_checksum: bool
    revision: str | None
    layout: list[list[int]] | None
    commissioned_at: Instant | None
    stale_since: Instant | None
    stale_reason: str | None
    connect_called_at: Instant | None
    connect_called_from: str | None
    firmware: str | None
    locked_out_at: Instant | None


@router.get(
    "/station/{code}/cabinet", operation_id="admin_get_cabinet", summary="What is known of a vendor's cabinet",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_cabinet(code: Code, session: SessionDep, _: CurrentOperator) -> CabinetOut:
    station = find_station(session, code)
    return _out(session, station)


@router.patch(
    "/station/{code}/cabinet", operation_id="admin_patch_cabinet", summary="Change what a vendor's cabinet goes by",
    responses=problems(401, 403, 404, 409),
)  # fmt: skip
def patch_cabinet(code: Code, body: CabinetPatch, acts: ActsDep, runtime: RuntimeDep) -> CabinetOut:
    """A cabinet that was rebuilt is refused until its layout is forgotten."""
    wanted = CabinetChange(
        secret=None if body.secret is None else body.secret.get_secret_value(),
        tolerate_checksum=body.tolerate_checksum,
        revision=body.revision,
        forget_layout=body.forget_layout,
        readmit=body.readmit,
    )
    station = cabinets.change(acts.session, code, wanted, runtime.settings, actor=acts.actor, now=acts.now)
    return _out(acts.session, station)


def _out(session: Session, station: Station) -> CabinetOut:
    known = profiles.profile_of(session, station.id)
    profile = known or DeviceProfile(station_id=station.id, tolerate_checksum=False)
    return CabinetOut(
        code=station.code,
        dialect=station.dialect,
        hardware_id=station.hardware_id,
        has_secret=cabinets.has_secret(session, station),
        tolerate_checksum=profile.tolerate_checksum,
        revision=profile.revision,
        layout=profile.layout,
        commissioned_at=profile.commissioned_at,
        stale_since=profile.stale_since,
        stale_reason=profile.stale_reason,
        connect_called_at=profile.connected_at,
        connect_called_from=profile.connected_from,
        firmware=profile.firmware,
        locked_out_at=profile.locked_out_at,
    )
