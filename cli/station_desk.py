"""`voltbay stations …`: look at stations, order them about, take them and their slots out of use.

The same services as the operators' API; acts are in the same audit log, under the name of the console's user.
"""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from cli.desk import AsJson, Desk, Limit, Reason, desk, print_json, print_table
from firmware_protocol.commands import Command, EjectPowerBank, LockSlot, UnlockSlot
from firmware_protocol.dialects.registry import CAPABILITIES, capabilities_of
from fleet.common.errors import InvalidInput
from fleet.devices import availability, orders
from fleet.rentals.records import histories
from fleet.stations import operators, queries, service
from fleet.stations.exports import EXPORTS
from fleet.stations.queries import find_station
from fleet.stations.specs import parse_row, read_rows
from fleet.users import audit

_Code = Annotated[str, typer.Argument(help="Station code.")]
_Slot = Annotated[int, typer.Argument(min=1, help="Slot number.")]
_Within = Annotated[float, typer.Option(min=1, max=3600, help="Seconds after which the order is void.")]


def register(app: typer.Typer) -> None:
    app.command("list")(list_)
    app.command()(show)
    app.command("import")(import_stations)
    app.command()(commands)
    app.command()(command)
    app.command()(eject)
    app.command()(lock)
    app.command()(unlock)
    app.command()(maintenance)
    app.command("disable-slot")(disable_slot)
    app.command("enable-slot")(enable_slot)
    app.command()(history)
    app.command()(presence)
    app.command()(export)


def list_(
    search: Annotated[str | None, typer.Option(help="In code, name or address.")] = None,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Stations, disabled ones too."""
    with desk() as at:
        rows = queries.station_page(
            at.session,
            limit=limit,
            now=at.now,
            min_charge_pct=at.settings.min_rentable_charge_pct,
            search=search,
            all_states=True,
        )
    columns = ("code", "name", "status", "online", "heard", "slots", "banks", "free")
    table = (
        (row.code, row.name, row.status, row.online, row.heard_at, row.slots, row.banks_available, row.slots_free)
        for row in rows
    )
    print_table(columns, table, as_json=as_json)


def show(code: _Code, as_json: AsJson = False) -> None:
    """One station with its slots and banks."""
    with desk() as at:
        found = queries.station_by_code(
            at.session, code, now=at.now, min_charge_pct=at.settings.min_rentable_charge_pct
        )
    station = found.station
    columns = ("slot", "state", "bank", "charge", "locked", "fault", "disabled", "observed")
    slots = [
        (s.number, s.state, s.serial, s.charge_pct, s.locked, s.fault, s.disabled_reason, s.observed_at)
        for s in found.slot_list
    ]
    if as_json:
        facts = ("code", "name", "status", "online", "offline_cause", "last_heard_at", "dialect", "firmware_version")
        about: dict[str, Any] = {name: getattr(station, name) for name in facts}
        print_json({**about, "slots": [dict(zip(columns, slot, strict=True)) for slot in slots]})
        return
    presence_now = "online" if station.online else f"offline ({station.offline_cause or 'never heard'})"
    typer.echo(f"{station.code}  {station.name}  {station.status}, {presence_now}, speaks {station.dialect}")
    print_table(columns, slots, as_json=False)


def import_stations(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with a header, or .json.")],
) -> None:
    """Make or change many stations at once, vendors' cabinets too.

    Columns: code, name, latitude, longitude, slots; and where wanted address, city, country, time_zone, dialect
    (native, volinks or relink), hardware_model, and hardware_id: what a vendor's cabinet calls itself, also imei or
    box_id. Rows with problems change nothing and are named (exit 1); the others are done.
    """
    with desk() as at:
        rows = read_rows(file.read_bytes(), as_csv=file.suffix.lower() != ".json")
        report = service.import_stations(at.session, [parse_row(row, CAPABILITIES) for row in rows], at.now)
        done = {name: getattr(report, name) for name in ("created", "updated", "unchanged")}
        detail = {"rows": done, "refused": len(report.problems), "console": at.actor.console}
        audit.record(at.session, action="station.import", now=at.now, detail=detail)
    typer.echo(", ".join(f"{count} {what}" for what, count in done.items()))
    for problem in report.problems:
        typer.echo(f"row {problem.row}, {problem.field or problem.code}: {problem.message}", err=True)
    if report.problems:
        raise typer.Exit(1)


def commands(code: _Code) -> None:
    """What the station's cabinet can be ordered to do."""
    with desk() as at:
        station = find_station(at.session, code)
        able = capabilities_of(station.dialect)
        lines = orders.supported(station, able)
        if able is not None:
            lines += [
                " ".join((f"vendor_command name={name}", *(f"{each}=…" for each in args)))
                for name, args in able.vendor_commands.items()
            ]
        typer.echo("\n".join(lines))


def command(
    code: _Code,
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="As `commands` lists them, or docs/protocol.md.")],
    reason: Reason,
    args: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="volume_pct=40 qr=text …")] = None,
    within: _Within = 30,
) -> None:
    """Order a cabinet to do something: reboot, query_inventory, set_volume, play_sound, show_screen, set_network …"""
    with desk() as at:
        _order(at, code, _command(kind, args or []), within, reason)


def eject(
    code: _Code,
    reason: Reason,
    slot: Annotated[int | None, typer.Option(min=1)] = None,
    serial: Annotated[str | None, typer.Option()] = None,
    within: _Within = 30,
) -> None:
    """Have a bank ejected, by slot, by serial, or both. An orphan-bank case asks for it until it is back."""
    if slot is None and serial is None:
        raise typer.BadParameter("name a --slot, a --serial, or both")
    with desk() as at:
        _order(at, code, EjectPowerBank(slot=slot, serial=serial), within, reason)


def lock(code: _Code, slot: _Slot, reason: Reason, within: _Within = 30) -> None:
    """Have the cabinet refuse a slot: it takes no bank and gives none."""
    with desk() as at:
        _order(at, code, LockSlot(slot=slot), within, reason)


def unlock(code: _Code, slot: _Slot, reason: Reason, within: _Within = 30) -> None:
    """Have the cabinet use a slot again."""
    with desk() as at:
        _order(at, code, UnlockSlot(slot=slot), within, reason)


def maintenance(
    code: _Code,
    reason: Reason,
    on: Annotated[bool, typer.Option("--on/--off", help="In maintenance a station gives no banks.")] = True,
) -> None:
    """Take a station into maintenance, or out."""
    with desk() as at:
        station = operators.set_maintenance(at.session, code, on=on, reason=reason, actor=at.actor, now=at.now)
        typer.echo(f"{code}: {station.status}")


def disable_slot(code: _Code, slot: _Slot, reason: Reason) -> None:
    """Take a slot out of use in the books."""
    with desk() as at:
        operators.disable_slot(at.session, code, slot, reason=reason, actor=at.actor, now=at.now)
    typer.echo(f"{code}/{slot}: disabled")


def enable_slot(code: _Code, slot: _Slot, reason: Reason) -> None:
    """Take a slot back into use, as healthy."""
    with desk() as at:
        operators.enable_slot(at.session, code, slot, reason=reason, actor=at.actor, now=at.now)
    typer.echo(f"{code}/{slot}: in use")


def history(
    code: _Code,
    slot: Annotated[int | None, typer.Option(min=1, help="Of one slot only.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """What became of a station or a slot, newest first: presence, commands, banks, cases, acts."""
    with desk() as at:
        if slot is None:
            entries = histories.station_history(at.session, code, limit=limit)
        else:
            entries = histories.slot_history(at.session, code, slot, limit=limit)
    print_history(entries, as_json=as_json)


def print_history(entries: list[histories.HistoryEntry], *, as_json: bool) -> None:
    if as_json:
        print_json([{"id": e.id, "at": e.at, "kind": e.kind, "summary": e.summary, **e.detail} for e in entries])
        return
    print_table(("at", "kind", "what"), ((e.at, e.kind, e.summary) for e in entries), as_json=False)


def presence(
    code: _Code,
    days: Annotated[float, typer.Option(min=0.01, max=400, help="Of the last so many days.")] = 1,
    as_json: AsJson = False,
) -> None:
    """How long a station was there, and why it was not."""
    with desk() as at:
        station = find_station(at.session, code)
        found = availability.availability(at.session, station.id, at.now - timedelta(days=days), at.now)
    spent: list[tuple[str, timedelta]] = [("online", found.online), ("unobserved", found.unobserved)]
    spent += [(f"offline: {cause}", lasted) for cause, lasted in sorted(found.by_cause.items())]
    spent.append(("unknown", found.unknown))
    print_table(("", "time", "share"), (_share(*each, days) for each in spent), as_json=as_json)


def _share(what: str, lasted: timedelta, days: float) -> tuple[str, str, str]:
    return what, str(timedelta(seconds=round(lasted.total_seconds()))), f"{lasted / timedelta(days=days):.1%}"


def export(
    slots: Annotated[bool, typer.Option("--slots", help="Slots with the banks in them, instead of stations.")] = False,
) -> None:
    """All stations, or all slots, as CSV on standard output."""
    with desk() as at:
        for lines in EXPORTS["slots" if slots else "stations"](at.session):
            typer.echo(lines, nl=False)


def _order(at: Desk, code: str, order: Command, within: float, reason: str) -> None:
    row = orders.order(
        at.session,
        code,
        order,
        within=timedelta(seconds=within),
        reason=reason,
        actor=at.actor,
        abilities=capabilities_of,
        now=at.now,
    )
    until: datetime = row.deadline
    typer.echo(f"{code}: {row.kind} {json.dumps(orders.shown(row.args))} queued until {until:%H:%M:%S} as {row.id}")


def _command(kind: str, args: list[str]) -> Command:
    """Raises InvalidInput, which names what is wrong."""
    values: dict[str, Any] = {"type": kind}
    for each in args:
        name, equals, value = each.partition("=")
        if not equals:
            raise InvalidInput(f"{each!r} is not NAME=VALUE", field="args")
        values[name] = _value(value)
    try:
        made: Command = msgspec.convert(values, Command, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error), field="args") from error
    return made


def _value(text: str) -> Any:
    """Lists and objects are JSON; everything else is the text itself."""
    if text[:1] not in {"[", "{"}:
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no JSON: {error}", field="args") from error
