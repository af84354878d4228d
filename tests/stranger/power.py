"""A cabinet in a process of its own: power, and a keyboard that plays the street."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.system.waiting import until

_PYTHON = Path(__file__).with_name("cabinet.py")
SHELL_SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "cabinet.sh"


class Powered:
    """Runs `command` with code, host and port in `folder`, in a process group of its own."""

    def __init__(self, command: list[str], code: str, url: str, folder: Path, *more: str) -> None:
        address = urlsplit(url)
        self.code, self.folder = code, folder
        self._command = [*command, code, address.hostname or "", str(address.port), *more]
        self._process: subprocess.Popen[str] | None = None

    def start(self, *, eject_s: float = 0.1) -> None:
        self._process = subprocess.Popen(
            self._command,
            cwd=self.folder,
            env={**os.environ, "EJECT_S": str(eject_s)},
            stdin=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def type(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def cut_power(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None


class Python(Powered):
    def __init__(self, code: str, url: str, folder: Path) -> None:
        super().__init__([sys.executable, str(_PYTHON)], code, url, folder, str(folder))

    def flash(self) -> dict[str, Any]:
        """What the cabinet has written down; it replaces the file as a whole."""
        found: dict[str, Any] = json.loads((self.folder / "flash.json").read_text())
        return found

    def settled(self, boot: int) -> bool:
        """It runs under this boot, has told something, and everything that it told is acknowledged."""
        if not (self.folder / "flash.json").exists():
            return False
        flash = self.flash()
        return bool(flash["boot"] == boot and flash["seq"] and not flash["journal"])

    def pull_by_hand(self, slot: int) -> None:
        """The lock is open and the power is off: nobody sees who takes the bank."""
        (self.folder / "slots" / str(slot)).unlink()

    def wait_for_motor(self) -> None:
        until(lambda: any("outcome" not in each for each in self.flash()["commands"].values()), "an eject is begun")


class Shell(Powered):
    def __init__(self, code: str, url: str, folder: Path) -> None:
        super().__init__(["sh", str(SHELL_SCRIPT)], code, url, folder)
