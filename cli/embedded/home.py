"""The folder in which one Voltbay keeps its data, logs, ports and secrets."""

import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import IO, Any

from cli.embedded import ports
from cli.embedded.errors import HomeInUse


class Home:
    """Everything below one folder; two homes share nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock: IO[str] | None = None

    @property
    def logs(self) -> Path:
        return self.root / "log"

    @property
    def run_file(self) -> Path:
        return self.root / "run.json"

    def create(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)

    def lock(self) -> None:
        """Become the only one who starts services here; raises HomeInUse. Released by unlock() or by dying."""
        self.create()
        handle = (self.root / "lock").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip()
            handle.close()
            raise HomeInUse(self.root, int(holder) if holder.isdigit() else None) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        self._lock = handle

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def port(self, name: str, *, wanted: int | None = None) -> int:
        """The port `name` had last time when it is still free, else `wanted` when that is free, else a new one."""
        known: dict[str, int] = read_json(self.root / "ports.json")
        candidates = [port for port in (known.get(name), wanted) if port is not None]
        owner = f"{self.root}:{name}"
        usable = (port for port in candidates if ports.is_free(port) and ports.claim(port, owner))
        chosen = next(usable, None) or ports.free_port()
        if known.get(name) != chosen:
            write_json(self.root / "ports.json", {**known, name: chosen})
        return chosen

    def secret(self, name: str) -> str:
        """A 192-bit random password made at first use; the file is readable by its owner only."""
        path = self.root / "secrets.json"
        known: dict[str, str] = read_json(path)
        if name not in known:
            known[name] = secrets.token_urlsafe(24)
            write_json(path, known)
        return known[name]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty when there is none or a crash left it half written."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_private(path, json.dumps(content, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, mode 0600: these files hold passwords."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
    temporary.replace(path)
