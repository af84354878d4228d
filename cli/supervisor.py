"""honcho, told to keep logs apart, to die with us, and to say who ended first."""

import shlex
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from honcho.manager import Manager
from honcho.printer import Message, Printer
from honcho.process import Process

from cli.embedded.home import Home
from cli.embedded.launch import die_with_parent, privileges

#: Draining processes get this long before SIGKILL.
_KILL_AFTER_S = 7.0


class Supervisor(Manager):  # type: ignore[misc]  # honcho is untyped
    """Runs the application's processes until one ends or a signal comes, then ends all of them."""

    def __init__(self, home: Home, *, mirror: TextIO | None, on_started: Callable[[Mapping[str, int]], None]) -> None:
        super().__init__(printer=_Logs(home.logs, mirror))
        self._process_ctor = _DyingProcess
        self.events: _Tap = _Tap(self.events, self._seen)
        self._on_started = on_started
        self._pids: dict[str, int] = {}
        self._asked_early = False
        #: The process that ended although nobody had asked, with its return code.
        self.first_to_end: tuple[str, int] | None = None

    def add(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        argv = [*privileges(None, signal.SIGTERM), *command]
        self.add_process(name, f"exec {shlex.join(argv)}", env=dict(environment))

    def terminate(self) -> None:
        """Ask all to end; those that have not within 7 s are killed. Also called by the signal handlers."""
        if not self._all_started():
            self._asked_early = True  # honcho cannot end what it has not seen start
            return
        if not self._terminating:
            reaper = threading.Timer(_KILL_AFTER_S, self.kill)
            reaper.daemon = True
            reaper.start()
        super().terminate()

    def _seen(self, message: Message) -> None:
        if message.type == "start":
            self._pids[message.name] = message.data["pid"]
            if len(self._pids) == len(self._processes):
                self._all_are_running()
        elif message.type == "stop" and not self._terminating and self.first_to_end is None:
            self.first_to_end = (message.name, message.data["returncode"])

    def _all_are_running(self) -> None:
        for name, pid in self._pids.items():
            self._processes[name]["pid"] = pid
        if self._asked_early:
            self.terminate()
        else:
            self._on_started(dict(self._pids))


class _DyingProcess(Process):  # type: ignore[misc]
    """The forked go-between that reads a process's output. It dies with us, and its child with it."""

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:
        die_with_parent(signal.SIGKILL)
        super().run(events, ignore_signals)


class _Tap:
    """honcho's queue, with a look at every message as it is taken."""

    def __init__(self, queue: Any, look: Callable[[Message], None]) -> None:
        self._queue = queue
        self._look = look

    def put(self, message: Message) -> None:
        self._queue.put(message)

    def get(self, timeout: float) -> Message:
        message = self._queue.get(timeout=timeout)
        self._look(message)
        return message


class _Logs:
    """honcho's printer: one file per process, and the terminal when asked."""

    def __init__(self, folder: Path, mirror: TextIO | None) -> None:
        self.width = 0
        self._folder = folder
        self._files: dict[str, Any] = {}
        self._terminal = Printer(mirror) if mirror is not None else None

    def write(self, message: Message) -> None:
        file = self._files.get(message.name)
        if file is None:
            file = self._files[message.name] = (self._folder / f"{message.name}.log").open("ab", buffering=0)
        data = message.data if isinstance(message.data, bytes) else message.data.encode()
        file.write(data)
        if self._terminal is not None:
            self._terminal.width = self.width
            with suppress(OSError):  # a closed terminal is no reason to stop
                self._terminal.write(message)
