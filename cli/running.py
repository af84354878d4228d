"""The system that `voltbay up` runs in a home folder, as other commands find it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import typer

from cli.embedded.errors import EmbeddedError
from cli.embedded.home import Home, write_private
from cli.embedded.postgres import EmbeddedPostgres
from fleet.settings import Settings


class RunState(msgspec.Struct, kw_only=True):
    """Contents of run.json; holds passwords, so the file is its owner's only."""

    pid: int
    url: str
    device_mqtt_url: str
    #: For cabinets with a secret, inside TLS; the other addresses of cabinets with a credential are in `environment`.
    sealed_mqtt_url: str | None = None
    control_url: str | None
    stations: list[str]
    #: What the processes were told; enough to run another one beside them.
    environment: dict[str, str]
    #: Process ids by name, embedded services included.
    pids: dict[str, int]

    def save(self, home: Home) -> None:
        write_private(home.run_file, msgspec.json.encode(self).decode())


def find_running(home: Home) -> RunState | None:
    """The system that runs in this home; None when there is none, or only what a crash left of it."""
    try:
        state = msgspec.json.decode(home.run_file.read_bytes(), type=RunState)
        with (home.root / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return state
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return None


def default_home() -> Home:
    """VOLTBAY_HOME, or `.voltbay` here."""
    return Home(Path(Settings().home))


def adopt(state: RunState) -> None:
    """Let this process, and those it starts, see what the running system's processes see; what is set here wins."""
    for name, value in state.environment.items():
        os.environ.setdefault(name, value)


@contextmanager
def settings_with_database() -> Iterator[Settings]:
    """Settings whose database answers: the one given, the running system's, or the home's, started for this command."""
    home = default_home()
    state = find_running(home)
    if state is not None:
        adopt(state)
    settings = Settings()
    if "database_url" in settings.model_fields_set:
        yield settings
        return
    postgres = EmbeddedPostgres(home)
    try:
        home.lock()
        postgres.start()
    except EmbeddedError as error:
        typer.echo(f"voltbay: {error}", err=True)
        raise typer.Exit(1) from None
    os.environ["DATABASE_URL"] = postgres.url
    try:
        yield Settings()
    finally:
        del os.environ["DATABASE_URL"]
        postgres.stop()
        home.unlock()
