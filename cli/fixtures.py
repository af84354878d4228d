from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from cli.running import settings_with_database
from fleet.common import fixtures
from fleet.common.clock import utc_now
from fleet.common.errors import FleetError
from fleet.config.service import load_config
from fleet.db import create_engine_from, session_scope
from fleet.payments.taxes import load_tax_rates
from fleet.rentals.tariffs.fixtures import load_packages, load_tariffs
from fleet.telemetry.alerts import load_rules

INITIAL_DATA = Path(__file__).resolve().parents[1] / "fixtures" / "initial_data.json"


def loaddata(
    file: Annotated[Path, typer.Argument(help="As fixtures/initial_data.json.", exists=True, dir_okay=False)],
) -> None:
    """Load countries, configuration, taxes, tariffs, packages, alert rules; what is there stays, run it at will."""
    with settings_with_database() as settings:
        engine = create_engine_from(settings.database_url.get_secret_value(), name="voltbay-loaddata")
        try:
            with session_scope(engine) as session:
                counts = load(session, file, utc_now())
        except FleetError as error:
            typer.echo(f"voltbay: {error}", err=True)
            raise typer.Exit(1) from None
        finally:
            engine.dispose()
    typer.echo(", ".join(f"{name}: {count}" for name, count in counts.items()))


def load(session: Session, file: Path, now: datetime, *, currency: str | None = None) -> dict[str, int]:
    """Every area loads its key of the file; returns what each did. Raises FleetError, OSError.

    `currency` replaces that of tariffs and packages, for a fleet whose own is another one.
    """
    data = fixtures.read(file)
    own = {} if currency is None else {"currency": currency}
    tariffs, packages = ([row | own for row in data[key]] for key in ("tariffs", "packages"))
    return {
        "countries": fixtures.load_countries(session, data["countries"]),
        "configuration added": load_config(session, data["config"], now),
        "tax rates added": load_tax_rates(session, data["tax_rates"], now),
        "tariffs added": load_tariffs(session, tariffs, now),
        "packages added": load_packages(session, packages, now),
        "alert rules added": load_rules(session, data["alert_rules"], now),
    }
