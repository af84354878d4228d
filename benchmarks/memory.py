"""Memory of processes: resident, and proportional (what is shared counts once, divided among those who share it)."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.whole import processes_of

_EVERY_S = 0.5
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB of one process and its children; `pss` equals `rss` where the system does not tell."""

    rss: float
    pss: float


def memory_of(pid: int) -> Memory:
    rss = pss = 0.0
    for process in processes_of(pid):
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            mine = process.memory_info().rss
            rss += mine
            pss += _pss(process.pid) or mine
    return Memory(rss / _MIB, pss / _MIB)


def _pss(pid: int) -> int | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), None)


@dataclass(slots=True)
class Watched:
    """The largest seen of each."""

    most: dict[str, Memory] = field(default_factory=dict)

    def look(self, pids: Mapping[str, int]) -> None:
        for name, pid in pids.items():
            with suppress(psutil.NoSuchProcess):
                now, known = memory_of(pid), self.most.get(name, Memory(0, 0))
                self.most[name] = Memory(max(now.rss, known.rss), max(now.pss, known.pss))


@contextmanager
def watching(pids: Mapping[str, int]) -> Iterator[Watched]:
    """Looks twice a second while the block runs."""
    found, ended = Watched(), threading.Event()

    def run() -> None:
        while not ended.wait(_EVERY_S):
            found.look(pids)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
        found.look(pids)
