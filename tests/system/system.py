"""The whole of Voltbay for a test: real services, every process its own, each to be killed and brought back."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from cli.embedded.ports import LOOPBACK
from cli.embedded.service import tail
from cli.embedded.stack import EmbeddedStack, StackOptions
from cli.migrations import upgrade
from cli.processes import command_of
from fleet.common.clock import utc_now
from fleet.db import create_engine_from, session_scope
from simulators.spec import FleetSpec
from tests.plain_http import NO_TLS
from tests.system.cabinets import Cabinets
from tests.system.processes import ManagedProcess, suspended
from tests.system.waiting import PATIENCE_S, until

#: Started in this order, stopped in the other.
APPLICATION = ("gateway", "api", "worker", "relay", "beat")
SERVICES = ("postgres", "redis", "mosquitto")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemOptions:
    gateways: int = 1
    #: PostgreSQL's; off only where nothing is killed.
    fsync: bool = True
    #: VOLTBAY_* settings of every process, without the prefix.
    settings: Mapping[str, str] = field(default_factory=dict)


#: To import everything, on a machine that has other things to do.
_START_S = 120.0
_SETTINGS = {
    "VOLTBAY_RATE_LIMIT_SCALE": "0",
    "VOLTBAY_SECRET_KEY": "of-these-tests-and-nothing-else",
    "VOLTBAY_SANDBOX_WEBHOOK_SECRET": "of-the-sandbox-in-these-tests",
    "VOLTBAY_LOG_LEVEL": "INFO",
}


class System:
    """`with System(folder, spec) as system: …`; start and stop it from one thread."""

    def __init__(self, folder: Path, spec: FleetSpec, options: SystemOptions | None = None) -> None:
        self.options = options or SystemOptions()
        self.stack = EmbeddedStack(folder / "home", StackOptions(fsync=self.options.fsync))
        self.spec = spec
        self.processes: dict[str, ManagedProcess] = {}
        self._killed: set[str] = set()
        self.gateways = ["gateway", *(f"gateway-{n}" for n in range(2, self.options.gateways + 1))]

    def __enter__(self) -> Self:
        self.stack.start()
        try:
            self._start()
        except BaseException:
            self._stop_everything()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(self, "cabinets"):
            self.cabinets.fleet.__exit__()
        self._stop_everything()

    def _start(self) -> None:
        upgrade(self.stack.database_url)
        self.engine: Engine = create_engine_from(self.stack.database_url, name="voltbay-test")
        self.url = f"http://{LOOPBACK}:{self.stack.home.port('http')}"
        self.relink_port = self.stack.home.port("relink")
        for name in (*self.gateways, *APPLICATION[1:]):
            command = command_of(name.partition("-")[0], home=self.stack.home.root)
            log = self.stack.home.logs / f"{name}.log"
            environment = {**self.environment, "VOLTBAY_GATEWAY_NAME": name}
            self.processes[name] = ManagedProcess(name, command, environment, log)
        began = utc_now()
        for process in self.processes.values():
            process.start()
        for name in self.processes:
            self._wait_ready(name, began)

    def start_cabinets(self) -> None:
        """Power them on, once their stations are known, and wait until all are welcomed and counted."""
        self.cabinets = Cabinets(self.spec, self.stack.device_mqtt_url)
        self.cabinets.fleet.__enter__()
        self.cabinets.fleet.wait_welcomed(120)
        self.wait_online(timeout_s=_START_S)

    def _stop_everything(self) -> None:
        for process in reversed(self.processes.values()):
            if process.running:
                process.kill()
        if hasattr(self, "engine"):
            self.engine.dispose()
        self.stack.stop()

    @property
    def environment(self) -> dict[str, str]:
        given = {f"VOLTBAY_{name}": value for name, value in self.options.settings.items()}
        home = {"VOLTBAY_HOME": str(self.stack.home.root), "VOLTBAY_HTTP_PORT": self.url.rpartition(":")[2]}
        cabinets = {
            "VOLTBAY_CABINET_SECRET_URL": self.stack.device_mqtt_url,
            "VOLTBAY_RELINK_PORT": str(self.relink_port),
        }
        return {**self.stack.environment, **cabinets, **_SETTINGS, **home, **given}

    @property
    def process_environment(self) -> dict[str, str]:
        """For one more process beside the running ones."""
        return {**os.environ, **self.environment}

    # Death and resurrection.

    def kill(self, *names: str) -> None:
        """SIGKILL, at once."""
        for name in names:
            self._killed.add(name)
            if name in SERVICES:
                getattr(self.stack, name).kill()
            else:
                self.processes[name].kill()

    def restart(self, *names: str) -> None:
        """Start what was killed, on its old ports, one after the other, and wait until it works."""
        for name in names:
            self._restart(name)

    def _restart(self, name: str) -> None:
        began = utc_now()
        self._killed.discard(name)
        if name in SERVICES:
            getattr(self.stack, name).start()
        else:
            self.processes[name].start()
        self._wait_ready(name, began)

    def revive(self) -> list[str]:
        """Bring back whatever a test that failed half way has left dead or frozen. Returns who had ended by itself,
        and its last words: a test that kills one process must not be the end of another.
        """
        ended = [
            f"{name} ended by itself:\n{tail(process.log, 60)}"
            for name, process in self.processes.items()
            if not process.running and name not in self._killed
        ]
        for name in SERVICES:
            if getattr(self.stack, name).pid is None:
                self.restart(name)
        for name, process in self.processes.items():
            process.thaw()
            if not process.running:
                self.restart(name)
        return ended

    @contextmanager
    def dead(self, *names: str) -> Iterator[None]:
        """Killed for the length of the block."""
        self.kill(*names)
        try:
            yield
        finally:
            self.restart(*names)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Holds what it has and does nothing with it; killing it inside the block is fine."""
        pid = getattr(self.stack, name).pid if name in SERVICES else self.processes[name].pid
        with suspended(pid):
            yield

    def _wait_ready(self, name: str, began: datetime) -> None:
        if name in SERVICES:
            return  # the service's own start has waited
        process = self.processes[name]

        def ready() -> bool:
            process.must_run()
            return self._ready(name, began)

        until(ready, lambda: f"{name} is ready; it said:\n{process.said()[-3000:]}", _START_S)

    def _ready(self, name: str, began: datetime) -> bool:
        if name.startswith("gateway"):
            alive = "SELECT count(*) FROM gateway_instance WHERE connected_since >= :began"
            wanted = len(self.gateways) if not hasattr(self, "cabinets") else 1
            return bool(self.scalar(alive, began=began) >= wanted)
        if name == "api":
            return httpx.get(f"{self.url}/health/live", verify=NO_TLS).is_success
        return {"worker": " ready.", "relay": "relay_started", "beat": "Configuration ->"}[name] in self.processes[
            name
        ].said()

    # A look behind the API.

    def scalar(self, query: str, **parameters: Any) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(text(query), parameters).scalar()

    def rows(self, query: str, **parameters: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(query), parameters))

    def session(self) -> Any:
        """One transaction of the test's own, committed at its end."""
        return session_scope(self.engine)

    @contextmanager
    def wallet_locked(self, user_id: str) -> Iterator[None]:
        """Whoever wants to move this rider's money waits until the block ends (or PostgreSQL does)."""
        connection = self.engine.connect()
        try:
            connection.execute(
                text("SELECT 1 FROM ledger_account WHERE owner_id = CAST(:user AS uuid) FOR UPDATE"), {"user": user_id}
            )
            yield
        finally:
            connection.invalidate()
            connection.close()

    def someone_waits_for_a_lock(self, application: str) -> bool:
        """A process is in the middle of a transaction and cannot go on."""
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE :name"
        return bool(self.scalar(waiting, name=f"%{application}%"))

    def command_of(self, rental_id: str) -> Any:
        """The newest eject of a rental: (state, attempt)."""
        rows = self.rows(
            "SELECT state, attempt FROM device_command WHERE rental_id = CAST(:id AS uuid)"
            " ORDER BY created_at DESC LIMIT 1",
            id=rental_id,
        )
        return rows[0] if rows else (None, 0)

    def wait_online(self, *codes: str, timeout_s: float = PATIENCE_S) -> None:
        wanted = list(codes or self.cabinets.codes)
        query = (
            "SELECT count(*) FROM station WHERE code = ANY(:codes) AND online"
            " AND NOT EXISTS (SELECT 1 FROM station_slot WHERE station_id = station.id AND state = 'unknown')"
        )
        until(
            lambda: self.scalar(query, codes=wanted) == len(wanted),
            lambda: f"{wanted} are online; {self.scalar(query, codes=wanted)} of {len(wanted)} are",
            timeout_s,
        )

    def settle(self, timeout_s: float = 100.0) -> None:
        """Until nothing is under way any more: cabinets are quiet, commands decided, events applied, money captured.

        A gateway may die between storing an event and telling its cabinet, which then says it again after 60 s (7.7).
        """
        until(lambda: self.cabinets.quiet() and not self.pending(), lambda: f"quiet: {self._unquiet()}", timeout_s)

    def pending(self) -> list[str]:
        """What somebody still has to do."""
        found = []
        for what, query in _PENDING.items():
            if count := self.scalar(query, codes=self.cabinets.codes):
                found.append(f"{count} {what}")
        return found

    def _unquiet(self) -> str:
        noisy = [code for code in self.cabinets.codes if self.cabinets.journal(code)]
        return f"{self.pending()}, journals of {noisy}, cabinets quiet: {self.cabinets.quiet()}"

    def must_all_run(self) -> None:
        for process in self.processes.values():
            process.must_run()

    def open_session(self) -> Session:
        return Session(self.engine)


_PENDING = {
    "commands undecided": "SELECT count(*) FROM device_command WHERE state IN ('queued', 'sent', 'unknown')",
    "rentals undecided": "SELECT count(*) FROM rental WHERE state IN ('ejecting', 'eject_unknown')",
    "events not applied": "SELECT count(*) FROM device_event WHERE applied_at IS NULL",
    "outbox events not sent": "SELECT count(*) FROM outbox_event WHERE dispatched_at IS NULL",
    "stations offline": "SELECT count(*) FROM station WHERE NOT online AND code = ANY(:codes)",
}


def wait_s(seconds: float) -> None:
    """For the few facts that are the absence of something."""
    time.sleep(seconds)
