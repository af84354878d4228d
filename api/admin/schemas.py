from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from api.payments.schemas import WalletOut
from api.rentals.schemas import RentalOut
from api.schemas import Input, Instant, Schema
from api.stations.schemas import SlotOut, StationSummary
from firmware_protocol.dialects.registry import CAPABILITIES
from fleet.devices.models import CommandState, DeadLetterState
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.models import Rental
from fleet.rentals.queries import Shown
from fleet.stations.models import StationStatus
from fleet.stations.queries import StationDetail
from fleet.users.models import Role, UserStatus

Code = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["ZRH-0001"])]
Serial = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$", examples=["PB00012345"])]
HardwareId = Annotated[
    str | None,
    Field(
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        examples=["864601068412899"],
        description="what a vendor's cabinet calls itself: IMEI or MAC, or box id",
    ),
]
Reason = Annotated[str, Field(min_length=3, max_length=300, examples=["goodwill after a jammed slot"])]
#: One that is kept with a bank or a credential.
ShortReason = Annotated[str, Field(min_length=3, max_length=200, examples=["cabinet stolen"])]


def _spoken(dialect: str) -> str:
    if dialect not in CAPABILITIES:
        raise ValueError(f"there are {', '.join(CAPABILITIES)}")
    return dialect


def _absent() -> Any:
    """The default of what may be left out, and not be null."""
    return None


class StationIn(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "code": "ZRH-0001", "name": "Main station, north hall", "latitude": 47.3779, "longitude": 8.5402,
                    "slots": 12, "city": "Zürich", "country": "CH", "time_zone": "Europe/Zurich",
                }
            ]
        }
    )  # fmt: skip

    code: Code
    name: Annotated[str, Field(min_length=1, max_length=200)]
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    slots: Annotated[int, Field(ge=1, le=512)]
    address: Annotated[str | None, Field(max_length=300)] = None
    city: Annotated[str | None, Field(max_length=100)] = None
    country: Annotated[str | None, Field(pattern="^[A-Z]{2}$")] = None
    dialect: Annotated[str, Field(max_length=32), AfterValidator(_spoken)] = "native"
    time_zone: Annotated[str, Field(max_length=64)] = "UTC"
    hardware_model: Annotated[str | None, Field(max_length=100)] = None
    hardware_id: HardwareId = None


class StationPatch(Input):
    """What is absent stays as it is; null takes away what a station need not have."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "maintenance", "reason": "screen broken"}]})

    name: str = Field(default_factory=_absent, min_length=1, max_length=200)
    latitude: float = Field(default_factory=_absent, ge=-90, le=90)
    longitude: float = Field(default_factory=_absent, ge=-180, le=180)
    slots: int = Field(default_factory=_absent, ge=1, le=512)
    address: Annotated[str | None, Field(max_length=300)] = None
    city: Annotated[str | None, Field(max_length=100)] = None
    country: Annotated[str | None, Field(pattern="^[A-Z]{2}$")] = None
    time_zone: str = Field(default_factory=_absent, max_length=64)
    hardware_model: Annotated[str | None, Field(max_length=100)] = None
    hardware_id: HardwareId = None
    status: StationStatus | None = None
    reason: Annotated[str | None, Field(max_length=300, description="for the audit log")] = None


class StationForOperator(StationSummary):
    heard_at: Instant | None


class SlotForOperator(SlotOut):
    serial: str | None
    locked: bool | None
    fault: str | None
    disabled_reason: str | None
    observed_at: Instant | None


class StationDetailForOperator(StationForOperator):
    country: str | None
    time_zone: str
    dialect: str
    hardware_model: str | None
    hardware_id: str | None
    firmware_version: str | None
    created_at: Instant
    updated_at: Instant
    inventory_at: Instant | None
    slot_list: list[SlotForOperator]

    @classmethod
    def of(cls, found: StationDetail) -> "StationDetailForOperator":
        station = found.station
        return cls(
            code=station.code,
            name=station.name,
            address=station.address,
            city=station.city,
            country=station.country,
            latitude=station.latitude,
            longitude=station.longitude,
            status=station.status,
            online=station.online,
            slots=station.slot_count,
            banks_available=found.banks_available,
            slots_free=found.slots_free,
            heard_at=station.last_heard_at,
            time_zone=station.time_zone,
            dialect=station.dialect,
            hardware_model=station.hardware_model,
            hardware_id=station.hardware_id,
            firmware_version=station.firmware_version,
            created_at=station.created_at,
            updated_at=station.updated_at,
            inventory_at=found.inventory_at,
            slot_list=[SlotForOperator.model_validate(slot) for slot in found.slot_list],
        )


class SlotPatch(Input):
    """A reason takes the slot out of use; null takes it back into use."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"disabled_reason": "door bent"}]})

    disabled_reason: Annotated[str | None, Field(min_length=3, max_length=200)]


class ImportProblem(Schema):
    row: Annotated[int, Field(description="counted from 1, without the heading line")]
    code: str | None
    field: str | None
    message: str


class ImportOut(Schema):
    """Rows with problems change nothing; the others are done."""

    created: int
    updated: int
    unchanged: int
    problems: list[ImportProblem]


class BanksIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"serials": ["PB00012345", "PB00012346"]}]})

    serials: Annotated[list[Serial], Field(min_length=1, max_length=1000)]


class BanksOut(Schema):
    added: int
    already_known: int


class CommandIn(Input):
    """One command, in the words of the device protocol (docs/protocol.md): its `type` and its members."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"type": "eject_power_bank", "args": {"slot": 3}, "reason": "bank is swollen"},
                {"type": "query_inventory"},
                {"type": "set_volume", "args": {"volume_pct": 40}},
            ]
        }
    )

    type: Annotated[str, Field(max_length=40, examples=["query_inventory"])]
    args: Annotated[dict[str, Any], Field(default_factory=dict)]
    deadline_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    reason: Annotated[str | None, Field(max_length=300)] = None


class CommandOut(Schema):
    id: UUID
    station: str
    type: str
    args: dict[str, Any]
    state: CommandState
    created_at: Instant
    deadline: Instant
    sent_at: Instant | None
    settled_at: Instant | None
    attempt: int
    outcome: str | None
    code: str | None
    slot: int | None
    serial: str | None
    rental_id: UUID | None


class RentalForOperator(RentalOut):
    user_id: UUID
    closed_at: Instant | None
    eject_attempts: int
    request_id: str | None

    @staticmethod
    def values_of(rental: Rental | Shown) -> dict[str, Any]:
        return RentalOut.values_of(rental) | {
            "user_id": rental.user_id,
            "closed_at": rental.closed_at,
            "eject_attempts": rental.eject_attempts,
            "request_id": rental.request_id,
        }


class TraceEntryOut(Schema):
    kind: Annotated[str, Field(examples=["frame_received"])]
    at: Instant
    summary: str
    detail: dict[str, Any]


class Trace(Schema):
    """The whole trail of one rental, in time order."""

    rental: RentalForOperator
    entries: list[TraceEntryOut]


class DeadLetterSummary(Schema):
    id: int
    topic: str
    station: str | None
    error_code: str
    error: str
    received_at: Instant
    state: DeadLetterState


class DeadLetterOut(DeadLetterSummary):
    payload_hex: str
    payload_text: Annotated[str | None, Field(description="when it is UTF-8")]
    content_type: str | None
    replayed_at: Instant | None
    replay_error: str | None


class CaseOut(Schema):
    """A bank that left a cabinet without a rental that explains it."""

    id: UUID
    power_bank: str
    station: str
    slot: int
    reason: str
    rental_id: UUID | None
    state: CaseState
    opened_at: Instant
    resolved_at: Instant | None
    resolution: str | None
    evidence: dict[str, Any]

    @classmethod
    def of(cls, case: OrphanBankCase) -> "CaseOut":
        return cls(
            id=case.id,
            power_bank=case.power_bank.serial,
            station=case.station.code,
            slot=case.slot_number,
            reason=case.reason,
            rental_id=case.rental_id,
            state=case.state,
            opened_at=case.opened_at,
            resolved_at=case.resolved_at,
            resolution=case.resolution,
            evidence=case.evidence,
        )


class ResolveIn(Input):
    resolution: Reason


class UserOut(Schema):
    id: UUID
    email: str | None
    phone: str | None
    guest: Annotated[bool, Field(description="without an account: rents by card only")]
    name: str | None
    role: Role
    status: UserStatus
    created_at: Instant


class Users(Schema):
    items: list[UserOut]


class UserDetail(UserOut):
    wallet: WalletOut
    open_rentals: list[UUID]


class UserStatusIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "suspended", "reason": "stolen card"}]})

    status: Literal[UserStatus.ACTIVE, UserStatus.SUSPENDED]
    reason: Reason


class AuditEntry(Schema):
    id: int
    at: Instant
    actor_id: UUID | None
    user_id: UUID | None
    action: str
    target: str | None
    detail: dict[str, Any]
    request_id: str | None


class ConfigEntry(Schema):
    key: str
    value: JsonValue
    scope: str
    description: str
    version: int
    updated_at: Instant


class ConfigEntries(Schema):
    items: list[ConfigEntry]


class ConfigIn(Input):
    """`expected_version`: refuse (409) when somebody changed it since; 0 for a new key."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"value": "help@example.com", "scope": "public", "expected_version": 3}]}
    )

    value: JsonValue
    scope: Annotated[Literal["public", "private"] | None, Field()] = None
    description: Annotated[str | None, Field(max_length=500)] = None
    expected_version: Annotated[int | None, Field(ge=0)] = None
