"""Start a server so that it dies with us and never runs as root."""

import ctypes
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cli.embedded.errors import ProgramMissing

_NOBODY = 65_534
#: prctl(2).
_PR_SET_PDEATHSIG = 1
_CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}


@dataclass(frozen=True, slots=True)
class ServiceUser:
    """Whom a service runs as when we are root, and the capability that lets it reach files below closed folders."""

    uid: int
    gid: int
    capability: str | None

    @classmethod
    def choose(cls, home: Path, programs: Iterable[Path]) -> "ServiceUser | None":
        """None unless we are root; then the owner of the home folder, or nobody when root owns it.

        The capability is asked for only when a folder above a program or above the home is closed to others, as
        /root is: read-only search where we have it, else override (all that containers are given by default).
        """
        if os.geteuid() != 0:
            return None
        if shutil.which("setpriv") is None:
            raise ProgramMissing("setpriv", "install util-linux, or run as an ordinary user")
        owner = home.stat()
        uid, gid = (owner.st_uid, owner.st_gid) if owner.st_uid else (_NOBODY, _NOBODY)
        closed = any(_closed_above(path) for path in (home / "x", *programs))
        return cls(uid, gid, _first_held_capability() if closed else None)

    def own(self, folder: Path) -> None:
        for path in (folder, *folder.rglob("*")):
            with suppress(FileNotFoundError):  # broker-sync writes there, too: its drafts have a new name in a moment
                if path.lstat().st_uid != self.uid:
                    os.chown(path, self.uid, self.gid, follow_symlinks=False)


def launch(
    argv: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    user: ServiceUser | None,
    on_parent_death: signal.Signals,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own (Ctrl-C reaches us, not it), output appended to `log`.

    The kernel sends it `on_parent_death` when the thread that called this ends, even by kill -9 (Linux only; elsewhere
    the next start finds the orphan by its pid file).
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            [*privileges(user, on_parent_death), *argv],
            cwd=cwd,
            env=clean_environment() if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def die_with_parent(on_parent_death: signal.Signals) -> None:
    """The same for a process that was forked from us and runs no program of its own (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(on_parent_death))


def privileges(user: ServiceUser | None, on_parent_death: signal.Signals | None = None) -> list[str]:
    """The setpriv prefix of a command line."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    options = [] if on_parent_death is None else [f"--pdeathsig={on_parent_death.name.removeprefix('SIG')}"]
    if user is not None:
        options += [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
        if user.capability:
            options += [f"--inh-caps=+{user.capability}", f"--ambient-caps=+{user.capability}"]
    return [setpriv, *options, "--"] if options else []


def clean_environment() -> dict[str, str]:
    """What servers need; nothing that changes their behaviour (PGPORT, PGDATA, LC_*) or that is secret."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "TZ": "UTC"}


def _closed_above(path: Path) -> bool:
    return any(not parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


def _first_held_capability() -> str | None:
    status = Path("/proc/self/status").read_text()
    permitted = int(next(line for line in status.splitlines() if line.startswith("CapPrm")).split()[1], 16)
    return next((name for name, bit in _CAPABILITIES.items() if permitted >> bit & 1), None)
