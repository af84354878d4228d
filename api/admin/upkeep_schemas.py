"""Configuration, logs and groups of cabinets, for operators."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, JsonValue

from api.admin.schemas import Code
from api.schemas import Input, Instant, Schema
from firmware_protocol.config_keys import ValueKind
from fleet.devices.configuration import rules
from fleet.devices.configuration.models import ConfigScope, DeviceConfig
from fleet.devices.configuration.rules import Standing
from fleet.devices.logs.collect import DEFAULT_MAX_BYTES, LARGEST_MAX_BYTES
from fleet.devices.logs.models import DeviceLog, LogState

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["airport"])]
Values = Annotated[dict[str, JsonValue], Field(max_length=64, description="keys and values; null: the cabinet's own")]
Version = Annotated[
    int | None, Field(ge=0, description="the version you saw (0: none yet); another one by now is a conflict")
]


class ConfigKeyOut(Schema):
    name: str
    kind: ValueKind
    meaning: str
    low: int
    high: int
    choices: tuple[str, ...]


class ConfigKeysOut(Schema):
    items: list[ConfigKeyOut]


class ConfigValuesIn(Input):
    """All keys of this layer: what is absent is no longer set by it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"values": {"volume_pct": 40, "language": "de"}, "expected_version": 0}]}
    )

    values: Values
    expected_version: Version = None
    reason: Annotated[str | None, Field(max_length=300, description="for the audit log")] = None


class LayerOut(Schema):
    scope: ConfigScope
    name: str
    values: dict[str, JsonValue]
    version: int
    updated_at: Instant


class LayersOut(Schema):
    items: list[LayerOut]


class DifferenceOut(Schema):
    key: str
    desired: JsonValue
    reported: JsonValue


class StationConfigOut(Schema):
    """`desired` is all layers together, at `version`; `reported` is what the cabinet says, at `accepted_version`."""

    station: str
    standing: Standing
    overrides: dict[str, JsonValue]
    overrides_version: int
    desired: dict[str, JsonValue]
    version: int
    reported: dict[str, JsonValue] | None
    reported_at: Instant | None
    accepted_version: int
    differences: list[DifferenceOut]
    refused_code: str | None
    refused_at: Instant | None

    @classmethod
    def of(cls, code: str, row: DeviceConfig) -> "StationConfigOut":
        found = [] if row.reported is None else rules.differences(row.desired, row.reported)
        return cls(
            station=code,
            standing=rules.standing(
                version=row.version,
                accepted_version=row.accepted_version,
                refused_version=row.refused_version,
                drifted=row.drifted,
                desired=row.desired,
            ),
            overrides=row.overrides,
            overrides_version=row.overrides_version,
            desired=row.desired,
            version=row.version,
            reported=row.reported,
            reported_at=row.reported_at,
            accepted_version=row.accepted_version,
            differences=[DifferenceOut.model_validate(each) for each in found],
            refused_code=row.refused_code,
            refused_at=row.refused_at,
        )


class GroupIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"description": "the airport's halls", "rank": 10}]})

    description: Annotated[str, Field(max_length=300)] = ""
    rank: Annotated[int, Field(ge=-1000, le=1000, description="of two groups the higher one wins")] = 0


class GroupOut(Schema):
    name: str
    description: str
    rank: int
    stations: int


class GroupsOut(Schema):
    items: list[GroupOut]


class MembersIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"add": ["ZRH-0001"], "remove": []}]})

    add: Annotated[tuple[Code, ...], Field(max_length=10_000)] = ()
    remove: Annotated[tuple[Code, ...], Field(max_length=10_000)] = ()


class MembersOut(Schema):
    items: list[str]


class LogRequestIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "slot 3 jams every morning"}]})

    since: Annotated[Instant | None, Field(description="only lines from this time on")] = None
    max_bytes: Annotated[int, Field(ge=1024, le=LARGEST_MAX_BYTES)] = DEFAULT_MAX_BYTES
    reason: Annotated[str | None, Field(max_length=300)] = None


class LogOut(Schema):
    id: UUID
    station: str
    state: LogState
    since: Instant | None
    max_bytes: int
    reason: str | None
    created_at: Instant
    settled_at: Instant | None
    chunks: int
    size: int
    asked: int
    code: str | None

    @classmethod
    def of(cls, log: DeviceLog, code: str) -> "LogOut":
        shown: dict[str, Any] = {name: getattr(log, name) for name in cls.model_fields if name != "station"}
        return cls(station=code, **shown)
