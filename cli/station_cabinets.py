"""`voltbay stations cabinet|change-cabinet|cabinet-secret`: what vendors' cabinets are known and let in by."""

import secrets
import sys
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from cli.desk import AsJson, Reason, desk, print_json
from fleet.devices import cabinets, profiles
from fleet.devices.cabinets import CabinetChange
from fleet.devices.vendor_models import DeviceProfile
from fleet.stations.queries import find_station

_Code = Annotated[str, typer.Argument(help="Station code.")]
#: As the API takes it.
_MOST_CHARS: Final = 128
#: Sixteen characters: somebody types them into a cabinet.
_NEW_BYTES: Final = 12


class Revision(StrEnum):
    OLD = "old"
    NEW = "new"


def register(app: typer.Typer) -> None:
    app.command()(cabinet)
    app.command("change-cabinet")(change_cabinet)
    app.command("cabinet-secret")(cabinet_secret)


def cabinet(code: _Code, as_json: AsJson = False) -> None:
    """What is known of a vendor's cabinet: layout, revision, tolerance, what was refused, whether it is locked out."""
    with desk() as at:
        station = find_station(at.session, code)
        profile = profiles.profile_of(at.session, station.id) or DeviceProfile(tolerate_checksum=False)
        layout: list[list[int]] | None = profile.layout
        shown: dict[str, Any] = {
            "station": code,
            "dialect": station.dialect,
            "hardware_id": station.hardware_id,
            "has_secret": cabinets.has_secret(at.session, station),
            "tolerate_checksum": profile.tolerate_checksum,
            "revision": profile.revision,
            "layout": layout,
            "commissioned_at": profile.commissioned_at,
            "stale_since": profile.stale_since,
            "stale_reason": profile.stale_reason,
            "locked_out_at": profile.locked_out_at,
        }
    if as_json:
        print_json(shown)
        return
    boards = None if layout is None else ", ".join(f"{board[0]}-{board[-1]}" for board in layout)
    for name, value in {**shown, "layout": boards}.items():
        typer.echo(f"{name.replace('_', ' ')}: {'-' if value is None else value}")


def change_cabinet(  # noqa: PLR0917  # typer gives them by name
    code: _Code,
    reason: Reason,
    tolerate: Annotated[
        bool | None, typer.Option("--tolerate-checksum/--refuse-checksum", help="Read frames with a wrong check byte.")
    ] = None,
    revision: Annotated[Revision | None, typer.Option(help="Of the guide that a Volinks cabinet goes by.")] = None,
    forget_layout: Annotated[
        bool, typer.Option("--forget-layout", help="The cabinet was rebuilt: its next complete inventory is learnt.")
    ] = False,
    readmit: Annotated[bool, typer.Option("--readmit", help="Let a cabinet in again that was revoked.")] = False,
) -> None:
    """Change what a vendor's cabinet goes by; what is not named stays as it is."""
    wanted = CabinetChange(tolerate_checksum=tolerate, revision=revision, forget_layout=forget_layout, readmit=readmit)
    if not wanted.noted:
        raise typer.BadParameter("name what is to be changed")
    _change(code, wanted, reason)
    typer.echo(f"{code}: {', '.join(wanted.noted)}")


def cabinet_secret(
    code: _Code,
    reason: Reason,
    given: Annotated[
        bool, typer.Option("--stdin", help="Take the secret that the cabinet has from standard input.")
    ] = False,
    readmit: Annotated[bool, typer.Option("--readmit", help="Let a cabinet in again that was revoked.")] = False,
) -> None:
    """Give a vendor's cabinet its secret, or another one: a new one is printed now and never again.

    A Relink cabinet makes its tokens with it; of a Volinks cabinet it is the password at the broker, where its IMEI is
    the user name. The one before counts no more; a Volinks cabinet fetches the new one with its next `connect`.
    """
    secret = sys.stdin.readline().rstrip("\r\n") if given else secrets.token_urlsafe(_NEW_BYTES)
    if not 0 < len(secret) <= _MOST_CHARS:
        raise typer.BadParameter(f"a secret has 1 to {_MOST_CHARS} characters")
    _change(code, CabinetChange(secret=secret, readmit=readmit), reason)
    typer.echo(f"{code}: taken" if given else secret)


def _change(code: str, wanted: CabinetChange, reason: str) -> None:
    with desk() as at:
        cabinets.change(at.session, code, wanted, at.settings, actor=at.actor, now=at.now, reason=reason)
