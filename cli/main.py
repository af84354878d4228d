"""The `voltbay` command. Each module holds one command, or one group of them."""

from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from pydantic import ValidationError

from cli.lazy import Lazy, LazyGroup

_PROCESS = {"rich_help_panel": "Processes"}
#: Variables without our prefix.
_PLAIN = frozenset({"DATABASE_URL", "REDIS_URL", "MQTT_URL"})


class Voltbay(LazyGroup):
    lazy: ClassVar[Mapping[str, Lazy]] = {
        "up": Lazy("cli.up", "up"),
        "demo": Lazy("cli.demo", "demo"),
        "simulate": Lazy("cli.simulate", "simulate"),
        "doctor": Lazy("cli.doctor", "doctor"),
        "broker-sync": Lazy("cli.broker_sync", "broker_sync", _PROCESS),
        "conformance": Lazy("cli.conformance", "conformance"),
        "decode": Lazy("cli.decode", "decode"),
        "migrate": Lazy("cli.migrate", "migrate"),
        "loaddata": Lazy("cli.fixtures", "loaddata"),
        "seed": Lazy("cli.demo_data", "seed"),
        "createsuperuser": Lazy("cli.operators", "createsuperuser"),
        "jobs": Lazy("cli.jobs", "jobs"),
        "psql": Lazy(
            "cli.tools", "psql", {"context_settings": {"allow_extra_args": True, "ignore_unknown_options": True}}
        ),
        "shell": Lazy("cli.tools", "shell"),
        "openapi": Lazy("cli.tools", "openapi"),
        "version": Lazy("cli.tools", "version"),
        "gateway": Lazy("cli.processes", "gateway", _PROCESS),
        "api": Lazy("cli.processes", "api", _PROCESS),
        "worker": Lazy("cli.processes", "worker", _PROCESS),
        "beat": Lazy("cli.processes", "beat", _PROCESS),
        "relay": Lazy("cli.processes", "relay", _PROCESS),
        "alerts": Lazy("cli.alerts"),
        "dead-letters": Lazy("cli.dead_letters"),
        "firmware": Lazy("cli.firmware"),
        "ledger": Lazy("cli.ledger"),
        "payments": Lazy("cli.payments"),
        "rollouts": Lazy("cli.rollouts"),
        "device-config": Lazy("cli.device_upkeep", "config"),
        "device-logs": Lazy("cli.device_upkeep", "logs"),
        "device-groups": Lazy("cli.device_groups"),
        "secrets": Lazy("cli.secrets"),
        "stations": Lazy("cli.stations"),
        "banks": Lazy("cli.banks"),
        "cases": Lazy("cli.cases"),
        "fleet": Lazy("cli.fleet_views"),
    }

    def invoke(self, ctx: Any) -> Any:
        """A setting that makes no sense is a line for whoever set it, not a fault of ours."""
        try:
            return super().invoke(ctx)
        except ValidationError as error:
            if error.title != "Settings":
                raise
            for wrong in error.errors(include_url=False, include_input=False):
                typer.echo(f"voltbay: {_variable(wrong['loc'])}{wrong['msg'].removeprefix('Value error, ')}", err=True)
            raise typer.Exit(1) from None


def _variable(place: tuple[int | str, ...]) -> str:
    """How the environment calls a field; nothing for what is wrong with several together."""
    if not place:
        return ""
    name = str(place[0]).upper()
    return f"{name if name in _PLAIN else f'VOLTBAY_{name}'}: "


app = typer.Typer(
    name="voltbay",
    cls=Voltbay,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they would show passwords
)


@app.callback()
def voltbay() -> None:
    """Open backend for fleets of power-bank charging cabinets."""


if __name__ == "__main__":
    app()
