"""`voltbay conformance`: whether a cabinet does what docs/protocol.md asks of it."""

import sys
from collections import Counter
from typing import Annotated

import msgspec
import typer

from cli.desk import print_table
from cli.running import default_home, find_running
from simulators.conformance import plan
from simulators.conformance.bench import Patience
from simulators.conformance.verdicts import Line, Verdict

#: Frames below a line of the table; --json has more.
_SHOWN_FRAMES = 4


def conformance(
    station: Annotated[str, typer.Option(help="Code of the cabinet: what it connects as.")],
    mqtt: Annotated[
        str | None,
        typer.Option(help="A broker of its own, with no other backend; default: the running system's, beside it."),
    ] = None,
    eject: Annotated[bool, typer.Option("--eject", help="Let banks leave: stand before the cabinet.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out what takes half a minute.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs, with all frames.")] = False,
) -> None:
    """Try every requirement of the protocol on a cabinet, simulated or on a bench; exit 1 when it fails one.

    The cabinet is restarted. Beside a running backend what needs a silent one is left out, and a bank that leaves
    (--eject) is an orphan-bank case there.
    """
    alone = mqtt is not None
    try:
        lines = plan.run(
            mqtt if mqtt is not None else _running_broker(),
            station,
            alone=alone,
            ejects=eject,
            patience=plan.QUICK if quick else Patience(),
            told=_say,
        )
    except (OSError, ValueError) as error:
        typer.echo(f"voltbay: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(lines)).decode())
    else:
        _print(lines)
    raise typer.Exit(int(any(line.verdict is Verdict.FAILED for line in lines)))


def _running_broker() -> str:
    state = find_running(default_home())
    url = None if state is None else state.environment.get("MQTT_URL")
    if url is None:
        typer.echo("voltbay: nothing runs here; name a broker with --mqtt", err=True)
        raise typer.Exit(1)
    return url


def _say(line: Line) -> None:
    """To whoever watches: a run takes a minute."""
    if sys.stderr.isatty():
        typer.echo(f"{line.requirement:<8} {line.verdict}", err=True)


def _print(lines: list[Line]) -> None:
    rows = [(line.requirement, line.title, line.verdict, line.why) for line in lines]
    print_table(("requirement", "title", "verdict", "why"), rows, as_json=False)
    for line in lines:
        if line.verdict is Verdict.FAILED:
            typer.echo(f"\n{line.requirement} {line.title}")
            for frame in line.evidence[-_SHOWN_FRAMES:]:
                typer.echo(f"  {frame[:400]}")
    counted = Counter(line.verdict for line in lines)
    typer.echo("\n" + ", ".join(f"{counted[verdict]} {verdict}" for verdict in Verdict))
