import json
import os
import subprocess
import sys
from pathlib import Path

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
