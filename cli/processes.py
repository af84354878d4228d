"""The processes of a system, and the command line of each."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import typer

from cli.running import adopt, default_home, find_running
from fleet.settings import Settings

_PYTHON = [sys.executable, "-m"]
_CELERY = [*_PYTHON, "celery", "-A"]


def command_of(name: str, *, home: Path) -> list[str]:
    """The argument list that runs one process in the foreground."""
    commands = {
        "gateway": [*_PYTHON, "device_gateway"],
        "api": [*_PYTHON, "api"],
        # Workers talk to each other for a dashboard's sake; ours have nothing to say.
        "worker": [*_CELERY, "workers.app", "worker", "--concurrency", "2", "--without-gossip", "--without-mingle"],
        "beat": [*_CELERY, "workers.beat", "beat", "--schedule", str(home / "beat-schedule")],
        "relay": [*_PYTHON, "workers.relay"],
    }
    return commands[name]


#: In the order of starting.
APPLICATION = ("gateway", "api", "worker", "relay", "beat")


def _runner(name: str, what: str) -> Callable[[], None]:
    def run() -> None:
        home = default_home()
        state = find_running(home)
        if state is not None:
            adopt(state)
            if name == "gateway" and Settings().gateway_name is None:
                _refuse_the_running_gateways_name()
        command = command_of(name, home=Path(Settings().home).absolute())
        os.execv(command[0], command)  # noqa: S606  # this process becomes that one, signals and all

    run.__doc__ = f"Run one process: {what}."
    return run


def _refuse_the_running_gateways_name() -> NoReturn:
    """The broker keeps one session for a name: two gateways would take it from each other without end."""
    typer.echo(
        "voltbay: a gateway runs here under this machine's name; name this one with VOLTBAY_GATEWAY_NAME", err=True
    )
    raise typer.Exit(1)


# One command per process: `voltbay gateway`, … They run beside a running system, or alone by the environment.
gateway = _runner("gateway", "the MQTT side: cabinets' messages in, commands out")
api = _runner("api", "HTTP: REST, live events, health")
worker = _runner("worker", "background tasks")
beat = _runner("beat", "the schedule of recurring tasks; exactly one per fleet")
relay = _runner("relay", "outbox to tasks")
