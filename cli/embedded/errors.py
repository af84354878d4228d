from pathlib import Path


class EmbeddedError(Exception):
    """Root of everything that can go wrong with the embedded services; the message is meant for the terminal."""


class HomeInUse(EmbeddedError):
    def __init__(self, root: Path, pid: int | None) -> None:
        self.root, self.pid = root, pid
        holder = f" (process {pid})" if pid else ""
        super().__init__(
            f"a system already runs in {root}{holder}: stop it, or choose another folder with VOLTBAY_HOME"
        )


class ProgramMissing(EmbeddedError):
    def __init__(self, program: str, remedy: str) -> None:
        self.program, self.remedy = program, remedy
        super().__init__(f"{program} is not installed: {remedy}")


class ServiceFailed(EmbeddedError):
    """A service did not become healthy; quotes the last lines of its log."""

    def __init__(self, service: str, reason: str, log: Path, tail: str) -> None:
        self.service, self.reason, self.log = service, reason, log
        super().__init__(f"{service} {reason}; the end of {log}:\n{tail}")


class DataFromAnotherVersion(EmbeddedError):
    def __init__(self, folder: Path, found: str, ours: str) -> None:
        self.folder, self.found, self.ours = folder, found, ours
        super().__init__(
            f"{folder} holds data of PostgreSQL {found}, this one is {ours}: dump and reload, or move it away"
        )
