"""What the three embedded services have in common: start, watch, stop, survive."""

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil

from cli.embedded import ports
from cli.embedded.errors import ServiceFailed
from cli.embedded.home import Home
from cli.embedded.launch import ServiceUser, launch

_POLL_S = 0.05
_LOG_KEEP_BYTES = 10 * 1024 * 1024
_TAIL_LINES = 15
_KILL_WAIT_S = 5.0
#: Somebody can take a port between our look and the server's bind.
_PORT_TRIES = 3


class EmbeddedService(ABC):
    """One server process with its data below a home folder, on a loopback port that the home remembers."""

    name: ClassVar[str]
    #: Also what the kernel sends when we die without a goodbye.
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    default_start_timeout_s: ClassVar[float] = 30.0
    stop_timeout_s: ClassVar[float] = 8.0

    def __init__(self, home: Home) -> None:
        self.home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    @property
    def data(self) -> Path:
        return self.home.root / self.name

    @property
    def log(self) -> Path:
        return self.home.logs / f"{self.name}.log"

    @property
    def port(self) -> int:
        """Known after the first start, and kept over kill() and start()."""
        if self._port is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._port

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def program(self) -> Path:
        """The server's executable; raises ProgramMissing with a way to get it."""

    @abstractmethod
    def healthy(self) -> bool:
        """Whether it answers a real request now."""

    @abstractmethod
    def _prepare(self, user: ServiceUser | None) -> None:
        """Bring data folder and configuration into being."""

    @abstractmethod
    def _command(self) -> list[str]: ...

    def start(self, timeout_s: float | None = None) -> None:
        """Start and wait until healthy; raises ServiceFailed. The calling thread must outlive the service."""
        if self.pid is not None:
            return
        self.home.create()
        self._stop_orphan()
        self._rotate_log()
        user = ServiceUser.choose(self.home.root, [self.program()])
        self._make_data_folder(user)
        for last in (False,) * (_PORT_TRIES - 1) + (True,):
            self._choose_ports()
            self._prepare(user)
            self._process = launch(
                self._command(), log=self.log, cwd=self.data, user=user, on_parent_death=self.stop_signal
            )
            self._pid_file.write_text(str(self._process.pid))
            if self._wait_healthy(timeout_s or self.default_start_timeout_s, give_up=last):
                return

    def stop(self) -> None:
        """Ask it to end and keep everything; SIGKILL only when it does not within `stop_timeout_s`."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(self.stop_signal)
            try:
                process.wait(self.stop_timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL the server and all its children at once, as a power cut would; start() brings it back."""
        if self._process is None:
            return
        kill_tree(self._process.pid)
        self._process.wait(self.stop_timeout_s)

    @property
    def _pid_file(self) -> Path:
        return self.home.root / f"{self.name}.pid"

    def _choose_ports(self) -> None:
        if self._port is None or not ports.is_free(self._port):
            self._port = self.home.port(self.name)

    def _make_data_folder(self, user: ServiceUser | None) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        if user is not None:
            user.own(self.data)

    def _wait_healthy(self, timeout_s: float, *, give_up: bool) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if self.healthy():
                return True
            if time.monotonic() > deadline:
                self.stop()
                raise self._failed(f"was not ready within {timeout_s:.0f} s")
            time.sleep(_POLL_S)
        if not give_up and not ports.is_free(self.port):
            return False
        raise self._failed(f"ended with code {self._process.returncode}")

    def _failed(self, reason: str) -> ServiceFailed:
        return ServiceFailed(self.name, reason, self.log, tail(self.log))

    def _stop_orphan(self) -> None:
        """End the server that a killed `voltbay up` left behind. Its own signal first: it may be half way out."""
        orphan = self._orphan()
        if orphan is None:
            return
        with suppress(psutil.NoSuchProcess):
            orphan.send_signal(self.stop_signal)
        if not wait_gone([orphan], self.stop_timeout_s):
            kill_tree(orphan.pid)

    def _orphan(self) -> psutil.Process | None:
        """The process of our pid file, unless the number now belongs to somebody else."""
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            ours = Path(process.cwd()).is_relative_to(self.data)
        except (FileNotFoundError, ValueError, psutil.Error):
            return None
        return process if ours else None

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > _LOG_KEEP_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))


def kill_tree(pid: int) -> None:
    """SIGKILL a process and its descendants; they may have left its process group, as PostgreSQL's do."""
    try:
        root = psutil.Process(pid)
        victims = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    wait_gone(victims, _KILL_WAIT_S)


def wait_gone(processes: Sequence[psutil.Process], timeout_s: float) -> bool:
    """Whether all of them, children or not, have ended within the time."""
    deadline = time.monotonic() + timeout_s
    while any(_alive(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S / 10)
    return True


def _alive(process: psutil.Process) -> bool:
    """False for a zombie too: its files and memory are free, whoever has still to collect it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tail(path: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log, for error messages."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - 16_384))
            text = handle.read().decode(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:])
