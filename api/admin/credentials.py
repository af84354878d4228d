"""What stations prove themselves with: claim tokens, rotation, revocation."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import Response
from pydantic import ConfigDict, Field, model_validator

from api.addresses import claim_url
from api.admin.acts import ActsDep
from api.admin.schemas import Code, Reason, ShortReason
from api.auth import CurrentOperator
from api.deps import RuntimeDep, SessionDep
from api.problems import problems
from api.schemas import Input, Instant, Schema
from api.v1 import area
from fleet.devices import claim_tokens, credentials
from fleet.devices.claim_tokens import Binding
from fleet.devices.identity_models import CredentialKind, CredentialState
from fleet.devices.lockout import lock_out
from fleet.devices.rotation import start_rotation
from fleet.stations.queries import find_station

router = area("admin", "admin")
#: More at once are a job for `voltbay stations claim-batch`.
_MOST: Final = 1000

HardwareSerial = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["SN-2026-000123"])]


class BindingIn(Input):
    """A station, a piece of hardware, or the hardware that is to stand there."""

    station: Code | None = None
    hardware_serial: HardwareSerial | None = None

    @model_validator(mode="after")
    def _names_something(self) -> "BindingIn":
        if self.station is None and self.hardware_serial is None:
            raise ValueError("name a station, a hardware serial, or both")
        return self


class ClaimBatchIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"bindings": [{"station": "ZRH-0001"}]}]})

    bindings: Annotated[list[BindingIn], Field(min_length=1, max_length=_MOST)]
    kind: CredentialKind = CredentialKind.CERTIFICATE
    #: The station's present credential ends with the claim.
    replace: bool = False
    valid_days: Annotated[int | None, Field(ge=1, le=3650)] = None
    reason: Reason | None = None


class ClaimTokenOut(Schema):
    station: str | None
    hardware_serial: str | None
    token: str


class ClaimBatchOut(Schema):
    claim_url: str
    expires_at: Instant
    tokens: list[ClaimTokenOut]


class CredentialOut(Schema):
    """One credential that a station has or had. No secrets."""

    key_id: str
    kind: CredentialKind
    state: CredentialState
    username: str
    serial_number: str | None
    issued_at: Instant
    expires_at: Instant | None
    confirmed_at: Instant | None
    revoked_at: Instant | None
    revoked_reason: str | None
    #: When the broker had taken note of the revocation.
    cut_at: Instant | None


class RevokeIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "cabinet stolen"}]})

    reason: ShortReason


class RevokedOut(Schema):
    revoked: int


class RotationOut(Schema):
    command_id: str
    deadline: Instant


@router.post(
    "/claim-token", operation_id="admin_create_claim_tokens", summary="Tokens with which cabinets get a credential",
    status_code=201, responses=problems(401, 403, 404, 409, 422),
)  # fmt: skip
def create_claim_tokens(body: ClaimBatchIn, acts: ActsDep, runtime: RuntimeDep, response: Response) -> ClaimBatchOut:
    """Shown here and never again: only their hashes are kept."""
    expires_at = acts.now + timedelta(days=body.valid_days or runtime.settings.claim_days)
    made = claim_tokens.create_batch(
        acts.session,
        [Binding(each.station, each.hardware_serial) for each in body.bindings],
        kind=body.kind,
        expires_at=expires_at,
        now=acts.now,
        replace=body.replace,
        created_by=acts.operator.id,
    )
    for each in made:
        detail = {
            "hardware_serial": each.binding.hardware_serial,
            "kind": body.kind.value,
            "replace": body.replace,
            "reason": body.reason,
        }
        acts.record("credential.token", target=each.binding.station, detail=detail)
    response.headers["Cache-Control"] = "no-store"
    tokens = [
        ClaimTokenOut(station=each.binding.station, hardware_serial=each.binding.hardware_serial, token=each.token)
        for each in made
    ]
    return ClaimBatchOut(claim_url=claim_url(runtime.settings), expires_at=expires_at, tokens=tokens)


@router.get(
    "/station/{code}/credential", operation_id="admin_list_credentials",
    summary="What a station proves itself with, newest first", responses=problems(401, 403, 404),
)  # fmt: skip
def list_credentials(code: Code, session: SessionDep, _: CurrentOperator) -> list[CredentialOut]:
    station = find_station(session, code)
    return [CredentialOut.model_validate(row) for row in credentials.credentials_of(session, station.id)]


@router.post(
    "/station/{code}/credential/rotate", operation_id="admin_rotate_credential",
    summary="Have a station fetch a new credential", status_code=202, responses=problems(401, 403, 404),
)  # fmt: skip
def rotate_credential(code: Code, acts: ActsDep, runtime: RuntimeDep) -> RotationOut:
    """The old one is good until the new one has been used once."""
    station = find_station(acts.session, code)
    deadline = acts.now + timedelta(hours=runtime.settings.rotation_hours)
    command = start_rotation(
        acts.session,
        station.id,
        url=claim_url(runtime.settings),
        deadline=deadline,
        now=acts.now,
        requested_by=acts.operator.id,
        request_id=acts.request_id,
    )
    acts.record("credential.rotate", target=code, detail={"command_id": str(command.id)})
    return RotationOut(command_id=str(command.id), deadline=deadline)


@router.post(
    "/station/{code}/credential/revoke", operation_id="admin_revoke_credentials",
    summary="Lock a station out at once", responses=problems(401, 403, 404),
)  # fmt: skip
def revoke_credentials(code: Code, body: RevokeIn, acts: ActsDep) -> RevokedOut:
    """Every credential it has ends; a live session is cut within seconds. A token with `replace` lets it in again, a
    vendor's cabinet `readmit` (`PATCH …/cabinet`).
    """
    station = find_station(acts.session, code)
    revoked = lock_out(acts.session, station.id, body.reason, acts.now)
    acts.record("credential.revoke", target=code, detail={"revoked": revoked, "reason": body.reason})
    return RevokedOut(revoked=revoked)
