"""Firmware releases and rollouts, for operators."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Base64Bytes, ConfigDict, Field, JsonValue, model_validator

from api.admin.schemas import Code
from api.schemas import Input, Instant, Schema
from firmware_protocol.limits import MAX_MANIFEST_BYTES
from fleet.devices.firmware.models import (
    FirmwareRollout,
    FirmwareRolloutGroup,
    ReleaseState,
    RolloutState,
    TargetState,
)
from fleet.devices.firmware.rollouts import GroupSpec

Envelope = Annotated[Base64Bytes, Field(max_length=2 * MAX_MANIFEST_BYTES, description="the signed file, in base64")]


class RootIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"envelope": "e30="}]})

    envelope: Envelope


class RootOut(Schema):
    version: int
    expires_at: Instant
    created_at: Instant


class RootsOut(Schema):
    items: list[RootOut]


class ReleaseIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"envelope": "e30=", "notes": "quieter motors"}]})

    envelope: Envelope
    notes: Annotated[str, Field(max_length=2000)] = ""


class ReleaseOut(Schema):
    id: int
    version: str
    counter: int
    hardware: list[str]
    min_version: str | None
    issued_at: Instant
    expires_at: Instant
    size: int
    sha256: str
    state: ReleaseState
    notes: str
    created_at: Instant


class RolloutGroupIn(Input):
    """Exactly one of `percent` (of what no group before has), `stations`, `group`."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    percent: Annotated[int | None, Field(ge=1, le=100)] = None
    stations: Annotated[list[Code] | None, Field(min_length=1, max_length=10_000)] = None
    group: Annotated[str | None, Field(max_length=64)] = None
    starts_by_itself: Annotated[bool, Field(description="when the group before is through")] = False

    @model_validator(mode="after")
    def _one_of(self) -> "RolloutGroupIn":
        if sum(each is not None for each in (self.percent, self.stations, self.group)) != 1:
            raise ValueError("give exactly one of percent, stations, group")
        return self

    def spec(self) -> GroupSpec:
        return GroupSpec(
            self.name,
            percent=self.percent,
            stations=tuple(self.stations or ()),
            group=self.group,
            starts_by_itself=self.starts_by_itself,
        )


class RolloutIn(Input):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "release_id": 1, "name": "2.5.0 everywhere", "failure_pct": 5, "per_minute": 20,
                    "groups": [{"name": "canary", "percent": 5}, {"name": "everyone", "percent": 100}],
                }
            ]
        }
    )  # fmt: skip

    release_id: Annotated[int, Field(ge=1, le=2**31 - 1)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    groups: Annotated[list[RolloutGroupIn], Field(min_length=1, max_length=50)]
    failure_pct: Annotated[int, Field(ge=0, le=100, description="more than this share of a group failed: halt")] = 10
    per_minute: Annotated[int, Field(ge=1, le=6000, description="stations told per minute")] = 10
    device_deadline_s: Annotated[int, Field(ge=30, le=604_800, description="for one station")] = 1800


class RolloutActionIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "looks good"}]})

    reason: Annotated[str | None, Field(max_length=300)] = None
    retry_failed: Annotated[bool, Field(description="with resume: those that failed get another turn")] = False


class RolloutGroupOut(Schema):
    number: int
    name: str
    selector: dict[str, JsonValue]
    size: int
    starts_by_itself: bool
    counts: dict[TargetState, int]


class RolloutOut(Schema):
    id: UUID
    name: str
    release_id: int
    version: str
    state: RolloutState
    reason: str | None
    failure_pct: int
    per_minute: int
    device_deadline_s: int
    current_group: int
    created_at: Instant
    approved_at: Instant | None
    ended_at: Instant | None
    groups: list[RolloutGroupOut]

    @classmethod
    def of(
        cls, row: FirmwareRollout, version: str, groups: list[tuple[FirmwareRolloutGroup, dict[TargetState, int]]]
    ) -> "RolloutOut":
        own = {name for name in cls.model_fields if name not in {"version", "groups"}}
        shown: dict[str, Any] = {name: getattr(row, name) for name in own}
        parts = [
            RolloutGroupOut(
                number=group.number, name=group.name, selector=group.selector, size=group.size,
                starts_by_itself=group.starts_by_itself, counts=counts,
            )
            for group, counts in groups
        ]  # fmt: skip
        return cls(version=version, groups=parts, **shown)


class TargetOut(Schema):
    station: str
    group_number: int
    state: TargetState
    from_version: str | None
    attempts: int
    offered_at: Instant | None
    deadline: Instant | None
    phase: str | None
    progress_pct: int | None
    code: str | None
    changed_at: Instant


class RolloutEventOut(Schema):
    id: int
    at: Instant
    what: str
    station: str | None
    before: str | None
    after: str
    actor_id: UUID | None
    detail: dict[str, JsonValue]
