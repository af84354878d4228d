import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
_ROOT = Path(__file__).parents[2]


def test_the_demo_plays_one_rental_and_leaves_nothing(tmp_path: Path) -> None:
    replaced = ("DATABASE_URL", "REDIS_URL", "MQTT_URL")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("VOLTBAY_") and k not in replaced}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "demo", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
        timeout=180,
        env=clean | {"VOLTBAY_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path), "COLUMNS": "160"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *table, last = done.stdout.splitlines()
    outcome = json.loads(last)
    assert outcome["rental_state"] == "completed"
    # One unlock and one begun interval of the standard tariff.
    assert outcome["charged_minor"] == 150
    assert outcome["ledger_balanced"] is True
    assert outcome["eject_ms"] > 0
    for word in ("signs up", "sandbox card", "ejects PB", "puts the bank into VB-0002", "frame_sent", "state_change"):
        assert any(word in line for line in table), word
    assert list(tmp_path.iterdir()) == []
    deadline = time.monotonic() + 10
    while left := _processes_of(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _processes_of(folder: Path) -> list[str]:
    """Services and processes of a system are told its home in their arguments or in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(folder) in " ".join([*process.cmdline(), *process.environ().values()]):
                found.append(" ".join(process.cmdline()))
    return found
