"""`voltbay stations claim-batch|rotate|revoke|credentials|certificates`: what stations prove themselves with."""

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from api.addresses import claim_url
from cli.desk import AsJson, Limit, print_table
from cli.running import settings_with_database
from fleet.common.clock import utc_now
from fleet.common.errors import FleetError
from fleet.db import create_engine_from, session_scope
from fleet.devices import claim_tokens, credentials, renewal
from fleet.devices.claim_tokens import Binding
from fleet.devices.identity_models import CredentialKind
from fleet.devices.lockout import NATIVE, lock_out
from fleet.devices.rotation import start_rotation
from fleet.settings import Settings
from fleet.stations.queries import find_station
from fleet.users import audit

_Codes = Annotated[list[str], typer.Argument(help="Station codes.")]


def register(app: typer.Typer) -> None:
    app.command("claim-batch")(claim_batch)
    app.command()(rotate)
    app.command()(revoke)
    app.command("credentials")(list_credentials)
    app.command()(certificates)


def claim_batch(
    codes: Annotated[list[str] | None, typer.Argument(help="Station codes, one token each.")] = None,
    hardware: Annotated[
        Path | None, typer.Option(help="File with a hardware serial a line, or SERIAL,CODE; '-': standard input.")
    ] = None,
    kind: Annotated[
        CredentialKind, typer.Option(help="certificate: mutual TLS; secret: user name, password and signed frames.")
    ] = CredentialKind.CERTIFICATE,
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Default: VOLTBAY_CLAIM_DAYS.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="For stations that have a credential: it ends with the claim.")
    ] = False,
) -> None:
    """Print claim tokens as CSV (station,hardware_serial,token,expires_at). They are shown now and never again."""
    bindings = [Binding(code) for code in codes or ()] + (_hardware(hardware) if hardware is not None else [])
    with _work() as (session, settings, now):
        expires_at = now + timedelta(days=days or settings.claim_days)
        made = claim_tokens.create_batch(session, bindings, kind=kind, expires_at=expires_at, now=now, replace=replace)
        detail = {"tokens": len(made), "kind": kind.value, "replace": replace}
        audit.record(session, action="credential.tokens", now=now, detail=detail)
        url = claim_url(settings)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("station", "hardware_serial", "token", "expires_at"))
    for each in made:
        row = (each.binding.station or "", each.binding.hardware_serial or "", each.token, expires_at.isoformat())
        table.writerow(row)
    typer.echo(f"{len(made)} tokens; cabinets exchange them at {url}", err=True)


def rotate(codes: _Codes) -> None:
    """Have stations fetch a new credential; the old one is good until the new one has been used once."""
    with _work() as (session, settings, now):
        deadline = now + timedelta(hours=settings.rotation_hours)
        for code in codes:
            station = find_station(session, code)
            command = start_rotation(session, station.id, url=claim_url(settings), deadline=deadline, now=now)
            detail = {"command_id": str(command.id)}
            audit.record(session, action="credential.rotate", now=now, target=code, detail=detail)
            typer.echo(f"{code}: command {command.id}")


def revoke(
    codes: _Codes,
    reason: Annotated[str, typer.Option(prompt=True, help="For the audit log.")],
) -> None:
    """Lock stations out at once: their credentials end, and a live session is cut within seconds."""
    still_let_in = []
    with _work() as (session, _, now):
        for code in codes:
            station = find_station(session, code)
            revoked = lock_out(session, station.id, reason, now)
            detail = {"revoked": revoked, "reason": reason}
            audit.record(session, action="credential.revoke", now=now, target=code, detail=detail)
            if station.dialect == NATIVE and not credentials.credentials_of(session, station.id):
                still_let_in.append(code)
                continue
            typer.echo(f"{code}: locked out, {revoked} {'credential' if revoked == 1 else 'credentials'} revoked")
    if still_let_in:
        why = "never had a credential: a fixed password, or in development its name alone, still lets it in"
        typer.echo(f"voltbay: NOT locked out, {why}: {', '.join(still_let_in)}", err=True)
        raise typer.Exit(1)


def list_credentials(code: Annotated[str, typer.Argument(help="Station code.")], as_json: AsJson = False) -> None:
    """What a station proves itself with, and did; newest first."""
    with _work() as (session, _, _now):
        rows = credentials.credentials_of(session, find_station(session, code).id)
    columns = (
        "key_id",
        "kind",
        "state",
        "username",
        "issued_at",
        "expires_at",
        "revoked_at",
        "revoked_reason",
        "cut_at",
    )
    print_table(columns, ([getattr(row, name) for name in columns] for row in rows), as_json=as_json)


def certificates(
    days: Annotated[int, typer.Option(min=1, max=3650, help="Those that end within so many days.")] = 30,
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """Stations whose certificate is about to end, or has ended. Cabinets renew it by themselves, and should have.

    `successor`: the next one was fetched, and has not been used yet.
    """
    with _work() as (session, _, now):
        rows = renewal.expiring(session, now + timedelta(days=days), limit=limit)
    columns = ("station", "key_id", "issued_at", "expires_at", "days_left", "renew_from", "successor")
    table = (
        (
            row.station,
            row.key_id,
            row.issued_at,
            row.expires_at,
            (row.expires_at - now).days,
            row.renew_from,
            row.successor,
        )
        for row in rows
    )
    print_table(columns, table, as_json=as_json)


@contextmanager
def _work() -> Iterator[tuple[Session, Settings, datetime]]:
    """One transaction; what the business refuses ends the command with its message and exit code 1."""
    with settings_with_database() as settings:
        engine = create_engine_from(settings.database_url.get_secret_value(), name="voltbay-stations")
        try:
            with session_scope(engine) as session:
                yield session, settings, utc_now()
        except FleetError as error:
            typer.echo(f"voltbay: {error}", err=True)
            raise typer.Exit(1) from None
        finally:
            engine.dispose()


def _hardware(path: Path) -> list[Binding]:
    """Raises typer.BadParameter naming the line that is neither SERIAL nor SERIAL,CODE."""
    lines = (sys.stdin.read() if str(path) == "-" else path.read_text()).splitlines()
    found: list[Binding] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        serial, _, code = (part.strip() for part in line.partition(","))
        if not serial or "," in code:
            raise typer.BadParameter(f"{path}:{number}: expected SERIAL or SERIAL,CODE")
        found.append(Binding(code or None, serial))
    return found
