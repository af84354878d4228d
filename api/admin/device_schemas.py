"""What operators see of the device plane, and say to it: commands, banks, histories, presence."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from api.admin.schemas import Reason, Serial, ShortReason
from api.schemas import Input, Instant, Schema
from fleet.devices.availability import Availability, OfflineTime, StatusSpell
from fleet.rentals.records.histories import HistoryEntry
from fleet.stations.models import PowerBankState, StationStatus

HeldState = Literal[PowerBankState.MAINTENANCE, PowerBankState.DAMAGED, PowerBankState.QUARANTINED, PowerBankState.LOST]


class EjectIn(Input):
    """A slot, a serial, or both; what is left out is taken from what is known, and the cabinet refuses what differs."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"slot": 3, "reason": "bank is swollen"}]})

    slot: Annotated[int | None, Field(ge=1, le=512)] = None
    serial: Serial | None = None
    deadline_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    reason: Reason


class MaintenanceIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"on": True, "reason": "screen broken"}]})

    on: bool
    reason: Reason


class CommandsOut(Schema):
    """What the station's cabinet can be ordered to do."""

    station: str
    dialect: str
    commands: Annotated[list[str], Field(examples=[["eject_power_bank", "query_inventory", "reboot"]])]
    vendor_commands: Annotated[
        dict[str, list[str]],
        Field(
            description="names of `vendor_command`s, each with the arguments that it must have",
            examples=[{"load_ad": [], "setAudio": ["data"], "set_wifi": ["wifi_ssid", "wifi_password"]}],
        ),
    ]


class BankOut(Schema):
    serial: str
    state: PowerBankState
    known: Annotated[bool, Field(description="false: a cabinet reported it and nobody entered it")]
    reason: str | None
    state_set_by: Annotated[str | None, Field(description="operator, or the rule; null: cabinets and rentals")]
    station: Annotated[str | None, Field(description="where it is, or was last seen")]
    slot: Annotated[int | None, Field(description="null: it is in no slot")]
    charge_pct: int | None
    cycles: int | None
    health_pct: int | None
    temperature_c: float | None
    seen_at: Instant | None


class HoldIn(Input):
    """Keep a bank from riders. A bank that is with a rider stays there; the state holds when it comes back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"state": "quarantined", "reason": "bank is swollen"}]})

    state: HeldState = PowerBankState.QUARANTINED
    reason: ShortReason


class BecauseIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "looked at: it is fine"}]})

    reason: Reason


class HistoryOut(Schema):
    id: Annotated[str, Field(examples=["movement:812"])]
    at: Instant
    kind: Annotated[str, Field(examples=["movement"])]
    summary: Annotated[str, Field(examples=["PB00012345 ejected in ZRH-0001/3"])]
    detail: dict[str, Any]

    @classmethod
    def of(cls, entry: HistoryEntry) -> "HistoryOut":
        return cls(id=entry.id, at=entry.at, kind=entry.kind, summary=entry.summary, detail=entry.detail)


class StatusSpellOut(Schema):
    """From one change of presence, or of what is wanted of the station, to the next."""

    id: int
    online: bool
    status: StationStatus | None
    cause: str
    trigger: Annotated[str | None, Field(examples=["silence"])]
    evidence: dict[str, Any]
    noticed_at: Instant
    since: Instant
    until: Annotated[Instant | None, Field(description="null: it is so now")]
    duration_s: float

    @classmethod
    def of(cls, spell: StatusSpell, now: datetime) -> "StatusSpellOut":
        return cls(
            id=spell.id,
            online=spell.online,
            status=spell.status,
            cause=spell.cause,
            trigger=spell.trigger,
            evidence=spell.evidence,
            noticed_at=spell.at,
            since=spell.since,
            until=spell.until,
            duration_s=spell.lasted(now).total_seconds(),
        )


class CauseOut(Schema):
    cause: Annotated[str, Field(examples=["power"])]
    offline_s: float


class AvailabilityOut(Schema):
    """How a period was spent; the four times sum up to it."""

    station: str
    since: Instant
    until: Instant
    online_s: float
    unobserved_s: Annotated[float, Field(description="thought to be online while the backend did not listen")]
    offline_s: float
    unknown_s: Annotated[float, Field(description="before it was first heard of")]
    availability: Annotated[float | None, Field(description="online of online and offline; null: nothing is known")]
    losses: int
    by_cause: list[CauseOut]

    @classmethod
    def of(cls, station: str, found: Availability) -> "AvailabilityOut":
        causes = sorted(found.by_cause.items(), key=lambda each: (-each[1], each[0]))
        return cls(
            station=station,
            since=found.since,
            until=found.until,
            online_s=found.online.total_seconds(),
            unobserved_s=found.unobserved.total_seconds(),
            offline_s=found.offline.total_seconds(),
            unknown_s=found.unknown.total_seconds(),
            availability=found.share,
            losses=found.losses,
            by_cause=[CauseOut(cause=cause, offline_s=spent.total_seconds()) for cause, spent in causes],
        )


class OfflineTimeOut(Schema):
    cause: Annotated[str, Field(examples=["network"])]
    stations: int
    losses: int
    offline_s: float

    @classmethod
    def of(cls, row: OfflineTime) -> "OfflineTimeOut":
        return cls(cause=row.cause, stations=row.stations, losses=row.losses, offline_s=row.offline.total_seconds())


class OfflineTimes(Schema):
    """Over all stations, or those of a city."""

    since: Instant
    until: Instant
    items: list[OfflineTimeOut]
