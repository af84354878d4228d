"""Commands are imported when they are asked for, and are what they were when all were imported at once."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from cli.main import Voltbay, app

_RUNNER = CliRunner()


@pytest.mark.parametrize("name", Voltbay.lazy)
def test_every_command_is_there_and_explains_itself(name: str) -> None:
    done = _RUNNER.invoke(app, [name, "--help"], prog_name="voltbay", env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0, done.output
    assert f"Usage: voltbay {name}" in done.stdout


def test_help_lists_them_in_their_order() -> None:
    listed = _RUNNER.invoke(app, ["--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    processes, others = ("gateway", "api", "worker", "beat", "relay", "broker-sync"), listed
    places = [others.index(f" {name} ") for name in Voltbay.lazy if name not in processes]
    assert places == sorted(places)
    assert all(listed.index("Processes") < listed.rindex(f" {name} ") for name in processes)


def test_a_command_that_is_not_there_is_refused() -> None:
    done = _RUNNER.invoke(app, ["decoed"])
    assert done.exit_code == 2
    assert "No such command 'decoed'. Did you mean 'decode'" in done.output


def test_decoding_a_frame_imports_neither_database_nor_api() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from cli.main import app\n"
        "assert CliRunner().invoke(app, ['decode', 'zz']).exit_code == 1\n"
        "print(*{'sqlalchemy', 'fastapi', 'celery', 'paho'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
