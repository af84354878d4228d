"""One of the backend's processes, which tests kill, freeze and start again."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from cli.embedded.launch import launch
from cli.embedded.service import kill_tree, tail

_STOP_S = 15.0


class ManagedProcess:
    """Its output is appended to one log file. It dies with the thread that started it."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        self._process: subprocess.Popen[bytes] | None = None
        #: Where the output of the present run begins.
        self._log_start = 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        assert not self.running, f"{self.name} runs already"
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = launch(
            self._command,
            log=self.log,
            cwd=Path.cwd(),
            user=None,
            on_parent_death=signal.SIGKILL,
            environment=self._environment,
        )

    def kill(self) -> None:
        """SIGKILL it and its children, frozen or not."""
        assert self._process is not None
        kill_tree(self._process.pid)
        self._process.wait(_STOP_S)

    def stop(self) -> int:
        """SIGTERM, as an operator does; its exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(_STOP_S)

    def thaw(self) -> None:
        for process in self._tree():
            process.resume()

    def rss_bytes(self) -> int:
        """Resident memory of the process and its children."""
        return sum(process.memory_info().rss for process in self._tree())

    def said(self) -> str:
        """Its output since the last start."""
        with self.log.open("rb") as handle:
            handle.seek(self._log_start)
            return handle.read().decode(errors="replace")

    def must_run(self) -> None:
        """Raises AssertionError with the end of its log when it ended by itself."""
        assert self.running, f"{self.name} ended by itself:\n{tail(self.log, 40)}"

    def _tree(self) -> list[psutil.Process]:
        return _tree_of(self.pid)


def _tree_of(pid: int) -> list[psutil.Process]:
    found = []
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        found = [root, *root.children(recursive=True)]
    return found


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    """SIGSTOP of a process and its children: it holds all that it has, and does nothing with it. It may be killed."""
    held = _tree_of(pid)
    for process in held:
        process.suspend()
    try:
        yield
    finally:
        for process in held:
            with suppress(psutil.NoSuchProcess):
                process.resume()
