"""Series for operators' charts. The resolution follows from the range: 5 minutes up to 2 days, hours up to 31, days."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import Query

from api.admin.schemas import Code, Serial
from api.auth import CurrentOperator
from api.deps import Now, RuntimeDep, SessionDep
from api.problems import problems
from api.schemas import Instant, Schema
from api.v1 import area
from fleet.stations.models import HealthKind, PowerBankState
from fleet.stations.queries import find_station
from fleet.telemetry import charts, health
from fleet.telemetry.health import BankHealth
from fleet.telemetry.rules import Resolution

router = area("admin", "admin")

Start = Annotated[Instant | None, Query(description="left out: a day before `end`")]
End = Annotated[Instant | None, Query(description="left out: now")]


class SlotLineOut(Schema):
    """One value for each of `at`; null where nothing is known."""

    slot: int
    charge_pct: list[float | None]
    temperature_max: list[float | None]


class ChargeChartOut(Schema):
    resolution: Resolution
    at: list[Instant]
    slots: list[SlotLineOut]


class TemperaturePointOut(Schema):
    at: Instant
    things: int
    p05: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class AvailabilityPointOut(Schema):
    at: Instant
    stations: int
    share: float | None


class TemperatureChartOut(Schema):
    points: list[TemperaturePointOut]


class AvailabilityChartOut(Schema):
    points: list[AvailabilityPointOut]


def _range(start: datetime | None, end: datetime | None, now: datetime) -> dict[str, datetime]:
    until = end or now
    return {"start": start or until - timedelta(days=1), "end": until}


@router.get(
    "/station/{code}/charge", operation_id="admin_station_charge", summary="Charge of a station's slots over time",
    responses=problems(401, 403, 404),
)  # fmt: skip
def station_charge(
    code: Code, session: SessionDep, _: CurrentOperator, now: Now, start: Start = None, end: End = None
) -> ChargeChartOut:
    """Values that did not change are carried forward for 15 minutes; at most 400 days."""
    station = find_station(session, code)
    return ChargeChartOut.model_validate(charts.slot_charge(session, station.id, **_range(start, end, now)))


@router.get(
    "/fleet/temperature", operation_id="admin_fleet_temperature", summary="Temperatures of the whole fleet",
    responses=problems(401, 403),
)  # fmt: skip
def fleet_temperature(
    session: SessionDep,
    _: CurrentOperator,
    now: Now,
    of: Annotated[Literal["cabinet", "bank"], Query(description="whose temperature")] = "cabinet",
    start: Start = None,
    end: End = None,
) -> TemperatureChartOut:
    """Percentiles of hourly averages, by hour or (beyond 31 days) by day. An hour shows half an hour after it ended."""
    points = charts.fleet_temperature(session, of, **_range(start, end, now))
    return TemperatureChartOut(points=[TemperaturePointOut.model_validate(point) for point in points])


@router.get(
    "/fleet/availability", operation_id="admin_fleet_availability", summary="How much of the time stations were online",
    responses=problems(401, 403),
)  # fmt: skip
def fleet_availability(
    session: SessionDep, _: CurrentOperator, now: Now, start: Start = None, end: End = None
) -> AvailabilityChartOut:
    """By hour or (beyond 31 days) by day; disabled stations do not count."""
    points = charts.fleet_availability(session, **_range(start, end, now))
    return AvailabilityChartOut(points=[AvailabilityPointOut.model_validate(point) for point in points])


class HealthEventOut(Schema):
    at: Instant
    kind: HealthKind
    detail: str | None
    source: str | None


class SlotHealthOut(Schema):
    number: int
    score: int
    fault: str | None
    disabled_reason: str | None
    history: list[HealthEventOut]


class StationHealthOut(Schema):
    slots: list[SlotHealthOut]


class BankHealthOut(Schema):
    """`pct_per_hour` null: it was not seen to gain charge; `stuck`: hours without any gain below 90 %."""

    serial: str
    state: PowerBankState
    score: int
    fault: str | None
    flagged_at: Instant | None
    cycles: int | None
    health_pct: int | None
    temperature_c: float | None
    pct_per_hour: float | None
    stuck: bool
    history: list[HealthEventOut]

    @classmethod
    def of(cls, found: BankHealth) -> "BankHealthOut":
        bank = found.bank
        return cls(
            serial=bank.serial,
            state=bank.state,
            score=found.score,
            fault=found.fault,
            flagged_at=found.flagged_at,
            cycles=bank.cycles,
            health_pct=bank.health_pct,
            temperature_c=bank.temperature_c,
            pct_per_hour=found.curve.pct_per_hour,
            stuck=found.curve.stuck,
            history=[HealthEventOut.model_validate(event) for event in found.history],
        )


@router.get(
    "/station/{code}/health", operation_id="admin_station_health", summary="How a station's slots are, and why",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_station_health(code: Code, session: SessionDep, _: CurrentOperator) -> StationHealthOut:
    """The newest hundred events of the station, by slot."""
    slots = health.station_health(session, code)
    return StationHealthOut(slots=[SlotHealthOut.model_validate(slot) for slot in slots])


@router.get(
    "/bank/{serial}/health", operation_id="admin_bank_health", summary="How a power bank is, and why",
    responses=problems(401, 403, 404),
)  # fmt: skip
def get_bank_health(
    serial: Serial, session: SessionDep, runtime: RuntimeDep, _: CurrentOperator, now: Now
) -> BankHealthOut:
    return BankHealthOut.of(health.bank_health(session, serial, runtime.policy.health, now))
