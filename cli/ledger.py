"""`voltbay ledger`: are the books right, and were they last night?"""

import json
from typing import Annotated

import typer

from cli.database import fleet_session
from fleet.common.clock import utc_now
from fleet.payments import proof
from fleet.registry import CHECKS

app = typer.Typer(help="The books: prove them, show the reports of earlier proofs.", no_args_is_help=True)
_Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command()
def prove(as_json: _Json = False) -> None:
    """Add everything up again, and keep the report; exit 1 when the books are wrong."""
    with fleet_session("ledger") as (session, _):
        found = proof.prove(session, utc_now(), CHECKS)
        number = proof.keep(session, found).id
    _tell(number, found, as_json=as_json)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def proofs(limit: Annotated[int, typer.Option(min=1, max=1000)] = 10, as_json: _Json = False) -> None:
    """The last reports, newest first."""
    with fleet_session("ledger") as (session, _):
        rows = proof.reports(session, limit)
    if not rows and not as_json:
        typer.echo("no proof yet: voltbay ledger prove")
    for row in rows:
        found = proof.LedgerProof(row.ok, row.at, row.accounts, row.transfers, tuple(row.problems))
        _tell(row.id, found, as_json=as_json)


def _tell(number: int, found: proof.LedgerProof, *, as_json: bool) -> None:
    if as_json:
        told = {
            "id": number,
            "at": found.at.isoformat(),
            "ok": found.ok,
            "accounts": found.accounts,
            "transfers": found.transfers,
            "problems": found.problems,
        }
        typer.echo(json.dumps(told))
        return
    verdict = "right" if found.ok else f"WRONG, {len(found.problems)} problems"
    seen = f"{found.accounts} accounts, {found.transfers} transfers"
    typer.echo(f"no. {number}, {found.at:%Y-%m-%d %H:%M} UTC: {verdict} ({seen})")
    for problem in found.problems:
        typer.echo(f"  {problem}")
