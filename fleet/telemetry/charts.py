"""What charts show, without gaps that are none. Each reads one station's rows by index, or hours of the whole fleet.

So they cost the same in a fleet of a thousand stations and of a hundred thousand; a test looks at the plans.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.telemetry.fleet_hours import SUBJECTS
from fleet.telemetry.rules import CARRIED, Resolution, buckets, filled, percentile, resolution_for

LONGEST: Final = timedelta(days=400)
_ORIGIN: Final = "'2000-01-01Z'"

#: The newest value of each five minutes, and the warmest.
_MINUTES: Final = text(f"""
SELECT slot, date_bin('5 minutes', at, {_ORIGIN}) AS bucket, (array_agg(charge_pct ORDER BY at DESC))[1],
       max(temperature_c)
  FROM slot_telemetry WHERE station_id = :station_id AND at >= :since AND at < :until GROUP BY slot, bucket
""")  # noqa: S608  # a constant
_ROLLED: Final = """
SELECT slot, bucket, charge_avg, temperature_max FROM slot_telemetry_{view}
 WHERE station_id = :station_id AND bucket >= :since AND bucket < :until
"""
_VIEWS: Final = {Resolution.HOUR: "hourly", Resolution.DAY: "daily"}
_TEMPERATURES: Final = text(f"""
SELECT date_bin(:step, hour, {_ORIGIN}) AS bucket, degrees, sum(things) FROM fleet_temperature
 WHERE subject = :subject AND hour >= :since AND hour < :until GROUP BY bucket, degrees
""")  # noqa: S608  # a constant
_ONLINE: Final = text(f"""
SELECT date_bin(:step, hour, {_ORIGIN}) AS bucket, sum(online_s), sum(stations), max(stations) FROM fleet_hour
 WHERE hour >= :since AND hour < :until GROUP BY bucket
""")  # noqa: S608  # a constant
_Values = dict[datetime, float | None]


@dataclass(frozen=True, slots=True)
class SlotLine:
    """One slot; as many values as the chart has buckets, None where nothing is known. Percent, °C."""

    slot: int
    charge_pct: list[float | None]
    temperature_max: list[float | None]


@dataclass(frozen=True, slots=True)
class ChargeChart:
    resolution: Resolution
    at: list[datetime]
    slots: list[SlotLine]


@dataclass(frozen=True, slots=True)
class TemperaturePoint:
    """Over one hour or day; °C; `things` is how many averages of an hour are in it. None: nothing was measured."""

    at: datetime
    things: int
    p05: float | None
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class AvailabilityPoint:
    """`share` of the time of all stations in which they were online, 0 to 1; None: not known (yet)."""

    at: datetime
    stations: int
    share: float | None


def slot_charge(session: Session, station_id: int, *, start: datetime, end: datetime) -> ChargeChart:
    """Charge of every slot of one station. Raises InvalidInput for a range that is empty or too long."""
    resolution = _resolution(start, end)
    at = buckets(start, end, resolution.step)
    if resolution is Resolution.MINUTES:
        since, query, carried = at[0] - CARRIED, _MINUTES, CARRIED
    else:
        since, query, carried = at[0], text(_ROLLED.format(view=_VIEWS[resolution])), timedelta(0)
    charge: dict[int, _Values] = defaultdict(dict)
    warmth: dict[int, _Values] = defaultdict(dict)
    for slot, bucket, value, warmest in session.execute(
        query, {"station_id": station_id, "since": since, "until": end}
    ):
        charge[slot][bucket], warmth[slot][bucket] = value, warmest
    step = resolution.step
    lines = [
        SlotLine(
            slot,
            filled(charge[slot], at, step=step, carried=carried),
            filled(warmth[slot], at, step=step, carried=carried),
        )
        for slot in sorted(charge)
    ]
    return ChargeChart(resolution, at, lines)


def fleet_temperature(session: Session, subject: str, *, start: datetime, end: datetime) -> list[TemperaturePoint]:
    """Of "cabinet" or "bank", by hour or day. Raises InvalidInput."""
    if subject not in SUBJECTS:
        raise InvalidInput(f"temperatures are those of {' or '.join(SUBJECTS)}", field="of")
    step = _fleet_step(start, end)
    at = buckets(start, end, step)
    found: dict[datetime, dict[int, int]] = defaultdict(dict)
    values = {"step": step, "subject": subject, "since": at[0], "until": end}
    for bucket, degrees, things in session.execute(_TEMPERATURES, values):
        found[bucket][degrees] = int(things)
    return [_temperature(bucket, found.get(bucket, {})) for bucket in at]


def fleet_availability(session: Session, *, start: datetime, end: datetime) -> list[AvailabilityPoint]:
    """Of all stations that are not disabled, by hour or day. Raises InvalidInput."""
    step = _fleet_step(start, end)
    at = buckets(start, end, step)
    rows = session.execute(_ONLINE, {"step": step, "since": at[0], "until": end})
    found = {bucket: (int(online_s), int(hours), int(stations)) for bucket, online_s, hours, stations in rows}
    return [_availability(bucket, *found.get(bucket, (0, 0, 0))) for bucket in at]


def _temperature(at: datetime, histogram: dict[int, int]) -> TemperaturePoint:
    p05, p50, p95, p99 = (percentile(histogram, share) for share in (0.05, 0.5, 0.95, 0.99))
    return TemperaturePoint(at, sum(histogram.values()), p05, p50, p95, p99)


def _availability(at: datetime, online_s: int, hours: int, stations: int) -> AvailabilityPoint:
    return AvailabilityPoint(at, stations, online_s / (hours * 3600) if hours else None)


def _resolution(start: datetime, end: datetime) -> Resolution:
    if end <= start:
        raise InvalidInput("the end of a range is after its start", field="end")
    if end - start > LONGEST:
        raise InvalidInput(f"a range is at most {LONGEST.days} days", field="end")
    return resolution_for(start, end)


def _fleet_step(start: datetime, end: datetime) -> timedelta:
    return max(_resolution(start, end).step, Resolution.HOUR.step)
