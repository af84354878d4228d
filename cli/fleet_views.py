"""`voltbay fleet`: the whole fleet in numbers; and how a station or a bank was and is, for `stations` and `banks`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from cli.desk import AsJson, desk, print_json, print_table
from fleet.devices import availability as presence
from fleet.rentals.rules import RentalPolicy
from fleet.stations.models import HealthEvent
from fleet.stations.queries import find_station
from fleet.telemetry import charts, health
from fleet.telemetry.fleet_hours import SUBJECTS

app = typer.Typer(help="The fleet in numbers: temperature, availability, offline time.", no_args_is_help=True)
_Days = Annotated[float, typer.Option(min=0.05, max=400, help="Of the last so many days.")]
#: Points of a table for people; a program gets them all.
_MOST_ROWS = 96


@app.command()
def temperature(
    of: Annotated[str, typer.Option(help=f"{' or '.join(SUBJECTS)}: whose.")] = "cabinet",
    days: _Days = 1,
    as_json: AsJson = False,
) -> None:
    """Percentiles of hourly averages, by hour or (beyond 31 days) by day, °C."""
    with desk() as at:
        points = charts.fleet_temperature(at.session, of, start=at.now - timedelta(days=days), end=at.now)
    columns = ("at", "things", "p05", "p50", "p95", "p99")
    print_table(columns, ([getattr(point, name) for name in columns] for point in points), as_json=as_json)


@app.command()
def availability(days: _Days = 1, as_json: AsJson = False) -> None:
    """Share of the time in which stations were online, by hour or (beyond 31 days) by day."""
    with desk() as at:
        points = charts.fleet_availability(at.session, start=at.now - timedelta(days=days), end=at.now)
    rows = ((point.at, point.stations, None if point.share is None else round(point.share, 4)) for point in points)
    print_table(("at", "stations", "share"), rows, as_json=as_json)


@app.command("offline-time")
def offline_time(
    days: _Days = 1,
    city: Annotated[str | None, typer.Option(help="Only there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Time that stations were offline, by cause; most first."""
    with desk() as at:
        rows = presence.offline_by_cause(at.session, at.now - timedelta(days=days), at.now, city=city)
    table = (
        (row.cause, row.stations, row.losses, timedelta(seconds=round(row.offline.total_seconds()))) for row in rows
    )
    print_table(("cause", "stations", "losses", "time"), table, as_json=as_json)


def station_charge(
    code: Annotated[str, typer.Argument(help="Station code.")], days: _Days = 1, as_json: AsJson = False
) -> None:
    """Charge of a station's slots over time, %; a point every 5 minutes, hour or day, as the range is long."""
    with desk() as at:
        station = find_station(at.session, code)
        chart = charts.slot_charge(at.session, station.id, start=at.now - timedelta(days=days), end=at.now)
    if as_json:
        slots = [
            {"slot": line.slot, "charge_pct": line.charge_pct, "temperature_max": line.temperature_max}
            for line in chart.slots
        ]
        print_json({"resolution": chart.resolution, "at": chart.at, "slots": slots})
        return
    columns = ("at", *(f"slot {line.slot}" for line in chart.slots))
    known = [
        (moment, values)
        for moment, *values in zip(chart.at, *(line.charge_pct for line in chart.slots), strict=True)
        if any(value is not None for value in values)
    ]
    rows = [
        (moment, *(None if value is None else round(value) for value in values))
        for moment, values in known[:: -(-len(known) // _MOST_ROWS) or 1]
    ]
    print_table(columns, rows, as_json=False)


def station_health(code: Annotated[str, typer.Argument(help="Station code.")], as_json: AsJson = False) -> None:
    """How a station's slots are, 0 to 100, and what was last noted of each."""
    with desk() as at:
        slots = health.station_health(at.session, code)
        table = [(slot.number, slot.score, slot.fault, slot.disabled_reason, _newest(slot.history)) for slot in slots]
    print_table(("slot", "score", "fault", "disabled", "last"), table, as_json=as_json)


def bank_health(serial: Annotated[str, typer.Argument(help="The bank's serial.")]) -> None:
    """How a power bank is, and why, as JSON."""
    with desk() as at:
        policy = RentalPolicy.from_settings(at.settings).health
        found = health.bank_health(at.session, serial, policy, at.now)
        print_json(
            {
                "serial": found.bank.serial,
                "state": found.bank.state,
                "score": found.score,
                "fault": found.fault,
                "flagged_at": found.flagged_at,
                "cycles": found.bank.cycles,
                "health_pct": found.bank.health_pct,
                "temperature_c": found.bank.temperature_c,
                "pct_per_hour": found.curve.pct_per_hour,
                "stuck": found.curve.stuck,
                "history": [
                    {"at": event.at, "kind": event.kind, "detail": event.detail, "source": event.source}
                    for event in found.history
                ],
            }
        )


def _newest(history: Sequence[HealthEvent]) -> str | None:
    """In words; None: nothing ever happened."""
    return f"{history[0].at:%Y-%m-%d %H:%M} {history[0].kind}" if history else None
