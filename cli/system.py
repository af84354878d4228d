"""One whole system below one home folder: services, schema, demo data, processes, simulated cabinets."""

import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from pydantic import SecretStr

from cli.banner import banner
from cli.embedded.home import Home
from cli.embedded.identity import write_identity
from cli.embedded.ports import LOOPBACK
from cli.embedded.service import tail
from cli.embedded.stack import EmbeddedStack, StackOptions
from cli.migrations import upgrade
from cli.preflight import refuse_what_cannot_work
from cli.processes import APPLICATION, command_of
from cli.readiness import NotReady, wait_until_ready
from cli.running import RunState
from cli.seed import seed_demo
from cli.supervisor import Supervisor
from fleet.common.clock import utc_now
from fleet.settings import Settings
from simulators.spec import FleetSpec, default_fleet

_PREFERRED_HTTP_PORT = 8000
_SERVICE_CHECK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemOptions:
    stations: int = 6
    seed: int = 1
    simulators: bool = True
    #: Quick motors and telemetry every 2 s instead of what real cabinets do.
    fast: bool = False
    verbose: bool = False
    #: Where cabinets connect, when MQTT_URL names a broker with a listener of their own.
    device_mqtt_url: str | None = None
    ready_timeout_s: float = 60.0


class _StopAsked(BaseException):
    """SIGINT or SIGTERM before the processes run; afterwards the supervisor has the signals."""


class System:
    """`run()` blocks until a signal or a failure. It must be called in the main thread."""

    def __init__(self, settings: Settings, options: SystemOptions, output: TextIO = sys.stdout) -> None:
        self.settings = settings
        self.options = options
        self.home = Home(Path(settings.home))
        self.stack = EmbeddedStack(
            self.home.root, replace(_stack_options(settings, options), before_broker=self._before_broker)
        )
        self.fleet: FleetSpec = default_fleet(options.stations if options.simulators else 0, options.seed)
        self.failure: str | None = None
        self._output = output
        self._stopped = threading.Event()
        self._http_port = 0
        self._control_port = 0
        self._relink_port = 0

    def run(self) -> str | None:
        """None after an orderly stop, else why it ended. Raises EmbeddedError and CannotStart before anything runs."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop_asked)
        try:
            refuse_what_cannot_work(self.settings, self.home)
            with self.stack:
                self._prepare()
                self._supervise()
        except _StopAsked:
            pass
        return self.failure

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._http_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the processes are told beyond our own environment; secrets of the home where none were given."""
        made = {"VOLTBAY_HOME": str(self.home.root), "VOLTBAY_HTTP_PORT": str(self._http_port)}
        made |= self.environment_secrets()
        if self._relink_port:
            made["VOLTBAY_RELINK_PORT"] = str(self._relink_port)
        if self.options.fast:
            made["VOLTBAY_TELEMETRY_S"] = "2"
        return self._addresses() | made

    def _addresses(self) -> dict[str, str]:
        """Of the services, and where cabinets are sent that have a credential: what was given comes first."""
        found = self.stack.environment
        if self.stack.options.mqtt_url is not None and not self.settings.production:
            found["VOLTBAY_CABINET_SECRET_URL"] = self.stack.device_mqtt_url
        for field in ("cabinet_tls_url", "cabinet_secret_url"):
            if field in self.settings.model_fields_set:
                found.pop(f"VOLTBAY_{field.upper()}", None)
        return found

    def environment_secrets(self) -> dict[str, str]:
        """Secrets of the home, for those that were not given."""
        wanted = [
            field for field in ("secret_key", "sandbox_webhook_secret") if field not in self.settings.model_fields_set
        ]
        return {f"VOLTBAY_{field.upper()}": self.home.secret(field) for field in wanted}

    def _prepare(self) -> None:
        self._http_port = self._choose_http_port()
        self._control_port = self.home.port("simulators")
        if self.options.simulators and "relink_port" not in self.settings.model_fields_set:
            self._relink_port = self.home.port("relink")
        if self.stack.options.mqtt_url is not None:  # otherwise it was done before the broker
            upgrade(self.stack.database_url)
        if not self.settings.production:
            seed_demo(self.stack.database_url, self.fleet, self.settings.currency, utc_now())

    def _before_broker(self, database_url: str, folder: Path) -> None:
        """The schema, and in it the authority whose certificates the broker checks."""
        upgrade(database_url)
        secret = self.environment_secrets().get("VOLTBAY_SECRET_KEY")
        chosen = {} if secret is None else {"secret_key": SecretStr(secret)}
        write_identity(self.settings.model_copy(update=chosen), database_url, folder)

    def _choose_http_port(self) -> int:
        if "http_port" in self.settings.model_fields_set:
            return self.settings.http_port
        return self.home.port("http", wanted=_PREFERRED_HTTP_PORT)

    def _supervise(self) -> None:
        mirror = self._output if self.options.verbose else None
        supervisor = Supervisor(self.home, mirror=mirror, on_started=lambda pids: self._watch(supervisor, pids))
        environment = {**os.environ, **self.environment, "PYTHONUNBUFFERED": "1"}
        for name in APPLICATION:
            supervisor.add(name, command_of(name, home=self.home.root), environment)
        if self.options.simulators:
            supervisor.add("simulators", self._simulators_command(), environment)
        try:
            supervisor.loop()
        finally:
            self._stopped.set()
            self.home.run_file.unlink(missing_ok=True)
        if supervisor.first_to_end is not None and self.failure is None:
            self.failure = self._ended(*supervisor.first_to_end)

    def _simulators_command(self) -> list[str]:
        command = [sys.executable, "-m", "cli.after", f"{self.url}/health/ready"]
        command += [sys.executable, "-m", "simulators", "--mqtt", self.stack.device_mqtt_url]
        command += ["--stations", str(self.options.stations), "--seed", str(self.options.seed)]
        command += ["--control-port", str(self._control_port), "--state", str(self.home.root / "simulators")]
        command += ["--http-url", self.url]
        if self._relink_port:
            command += ["--relink", f"{LOOPBACK}:{self._relink_port}"]
        # What the factory of these cabinets put in: with it they take signed updates.
        root = self.home.root / "firmware-root.json"
        command += ["--firmware-root", str(root)] if root.exists() else []
        return command + (["--eject-ms", "50-150"] if self.options.fast else [])

    def _watch(self, supervisor: Supervisor, pids: Mapping[str, int]) -> None:
        """Called once every process is forked, so that no fork copies a running thread."""
        threading.Thread(target=self._watch_over, args=(supervisor, pids), daemon=True, name="watch").start()

    def _watch_over(self, supervisor: Supervisor, pids: Mapping[str, int]) -> None:
        """Announce readiness, then look after the services."""
        state = self._run_state(pids)
        try:
            wait_until_ready(
                state, self.stack.database_url, timeout_s=self.options.ready_timeout_s, stopped=self._stopped
            )
        except NotReady as error:
            self.failure = f"{error}; logs are in {self.home.logs}"
            supervisor.terminate()
            return
        if self._stopped.is_set():
            return
        state.save(self.home)
        print(banner(state, self.home), file=self._output, flush=True)
        while not self._stopped.wait(_SERVICE_CHECK_S):
            dead = next((service.name for service in self.stack.services if service.pid is None), None)
            if dead is not None:
                self.failure = self._ended(dead)
                supervisor.terminate()
                return

    def _run_state(self, pids: Mapping[str, int]) -> RunState:
        services = {service.name: service.pid for service in self.stack.services if service.pid is not None}
        return RunState(
            pid=os.getpid(),
            url=self.url,
            device_mqtt_url=self.stack.device_mqtt_url,
            sealed_mqtt_url=self.stack.mosquitto.sealed_url,
            control_url=f"http://{LOOPBACK}:{self._control_port}" if self.options.simulators else None,
            stations=[station.code for station in self.fleet.stations],
            environment=self.environment,
            pids={**pids, **services},
        )

    def _ended(self, name: str, code: int | None = None) -> str:
        log = self.home.logs / f"{name}.log"
        how = "" if code is None else f" with code {code}"
        return f"{name} ended unexpectedly{how}; the end of {log}:\n{tail(log)}"


def _stack_options(settings: Settings, options: SystemOptions) -> StackOptions:
    """Addresses that were given replace the embedded services."""
    given = settings.model_fields_set
    return StackOptions(
        database_url=settings.database_url.get_secret_value() if "database_url" in given else None,
        redis_url=settings.redis_url.get_secret_value() if "redis_url" in given else None,
        mqtt_url=settings.mqtt_url.get_secret_value() if "mqtt_url" in given else None,
        device_mqtt_url=options.device_mqtt_url,
        # A name that is believed is for laptops (decision 0203): in production nobody gets in that way.
        device_secrets={} if settings.production else None,
    )


def _stop_asked(_number: int, _frame: FrameType | None) -> NoReturn:
    """Once: what follows is an orderly stop that a second signal must not cut short."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise _StopAsked
