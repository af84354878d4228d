"""`voltbay demo`: one rental from sign-up to receipt, over the public API and the simulators' hands alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import httpx
import typer
from rich.table import Table

from cli.console import console
from cli.demo_story import DemoFailed, Step, Story
from cli.embedded.home import Home
from cli.embedded.launch import privileges
from cli.embedded.service import tail
from cli.running import RunState, default_home, find_running

_START_S = 90.0
_STOP_S = 15.0


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Play one whole rental and print its life; against the running system, or one of its own in a temporary folder."""
    story: Story | None = None
    failure: str | None = None
    try:
        with _system() as state:
            story = Story(state)
            story.play()
    except (DemoFailed, httpx.HTTPError) as error:
        failure = str(error) or type(error).__name__
    if story is not None:
        console().print(_table(story.steps))
        if as_json:
            typer.echo(json.dumps(story.outcome))
    if failure is not None:
        typer.echo(f"voltbay: the demo failed: {failure}", err=True)
        raise typer.Exit(1)


def _table(steps: list[Step]) -> Table:
    table = Table(title="One rental", box=None, title_justify="left", pad_edge=False)
    for heading in ("after", "who", "what", "result"):
        table.add_column(heading, justify="right" if heading == "after" else "left")
    for step in steps:
        table.add_row(f"{step.after_s:.2f} s", step.who, step.what, step.result)
    return table


@contextmanager
def _system() -> Iterator[RunState]:
    """The running system, or one that lives as long as the demo."""
    running = find_running(default_home())
    if running is not None:
        yield running
        return
    typer.echo("starting a system of its own …", err=True)
    folder = Path(mkdtemp(prefix="voltbay-demo-"))
    home, log = Home(folder / "home"), folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*privileges(None, signal.SIGTERM), sys.executable, "-m", "cli.main", "up", "--stations", "3", "--fast"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "VOLTBAY_HOME": str(home.root)},
        )
    try:
        yield _wait_ready(process, home, log)
    except BaseException:
        _stop(process)
        typer.echo(f"its logs are kept in {home.logs}", err=True)
        raise
    _stop(process)
    shutil.rmtree(folder, ignore_errors=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _wait_ready(process: subprocess.Popen[bytes], home: Home, log: Path) -> RunState:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        state = find_running(home)
        if state is not None:
            return state
        time.sleep(0.1)
    raise DemoFailed(f"the system did not start:\n{tail(log, lines=40)}")
