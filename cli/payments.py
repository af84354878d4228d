"""`voltbay payments`: do our payments agree with the provider's list?"""

import json
from typing import Annotated

import typer

from cli.database import fleet_session
from fleet.common.clock import utc_now
from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments.providers import provider_from
from fleet.payments.providers.base import OutcomeUnknown
from fleet.payments.reconciliation import service
from fleet.payments.reconciliation.models import ReconciliationDifference, ReconciliationRun

app = typer.Typer(help="Payments: compare them with the provider's list.", no_args_is_help=True)
_Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command()
def reconcile(as_json: _Json = False) -> None:
    """Compare the last day, as the nightly job does, and keep what differs; exit 1 when something does."""
    with fleet_session("payments") as (session, settings):
        engine = session.get_bind().engine
        try:
            made = service.run(lambda: session_scope(engine), provider_from(settings, engine), utc_now())
        except OutcomeUnknown as error:
            typer.echo(f"voltbay: the payment provider does not answer: {error}", err=True)
            raise typer.Exit(2) from None
        differences = service.differences_of(session, made.id)
    _tell(made, differences, as_json=as_json)
    if differences:
        raise typer.Exit(1)


@app.command()
def reconciliations(limit: Annotated[int, typer.Option(min=1, max=1000)] = 10, as_json: _Json = False) -> None:
    """The last comparisons, newest first."""
    with fleet_session("payments") as (session, _):
        rows = service.runs(session, limit)
    if not rows and not as_json:
        typer.echo("no comparison yet: voltbay payments reconcile")
    for row in rows:
        _tell(row, [], as_json=as_json)


def _tell(run: ReconciliationRun, differences: list[ReconciliationDifference], *, as_json: bool) -> None:
    told = [
        {
            "id": str(each.id),
            "kind": each.kind,
            "about": each.about,
            "reference": each.reference,
            "ours": each.ours,
            "theirs": each.theirs,
            "amount": str(Money(each.amount_minor, each.currency)),
            "proposal": each.proposal,
        }
        for each in differences
    ]
    if as_json:
        head = {"id": str(run.id), "provider": run.provider, "until": run.until.isoformat(), "compared": run.compared}
        typer.echo(json.dumps({**head, "differences": run.differences, "found": told}))
        return
    verdict = "agree" if not run.differences else f"{run.differences} DIFFER"
    typer.echo(f"{run.provider}, {run.since:%Y-%m-%d %H:%M} to {run.until:%Y-%m-%d %H:%M} UTC: {verdict} "
               f"({run.compared} compared)")  # fmt: skip
    for each in told:
        typer.echo("  {kind} {about} {reference} of {amount}: ours {ours}, theirs {theirs} ({proposal})".format(**each))
