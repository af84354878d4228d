"""The three services together: `with EmbeddedStack(home) as stack: stack.database_url`."""

import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from cli.embedded.home import Home
from cli.embedded.mosquitto import EmbeddedMosquitto
from cli.embedded.postgres import EmbeddedPostgres
from cli.embedded.redis import EmbeddedRedis
from cli.embedded.service import EmbeddedService

#: A connection each for this many cabinets, where the system allows it.
_OPEN_FILES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """What the stack shall not start because it is elsewhere, and how the rest behaves."""

    database_url: str | None = None
    redis_url: str | None = None
    mqtt_url: str | None = None
    #: Cabinets' address when the broker is elsewhere; by default mqtt_url without its password.
    device_mqtt_url: str | None = None
    fsync: bool = True
    postgres_settings: Mapping[str, str] = field(default_factory=dict)
    #: Station code → secret; None lets cabinets in by name only.
    device_secrets: Mapping[str, str] | None = None
    #: Called before the broker starts, with the database's address and the folder of devices' credentials.
    before_broker: Callable[[str, Path], None] | None = None


class EmbeddedStack:
    """PostgreSQL, Redis and Mosquitto below one home folder; a service whose address is given is not started.

    Start it from a thread that lives as long as it shall run: the services die with that thread. Their `kill()` and
    `start()` keep data, port and url.
    """

    def __init__(self, home: Path, options: StackOptions | None = None) -> None:
        self.options = options or StackOptions()
        self.home = Home(home)
        self.postgres = EmbeddedPostgres(self.home, fsync=self.options.fsync, settings=self.options.postgres_settings)
        self.redis = EmbeddedRedis(self.home)
        self.mosquitto = EmbeddedMosquitto(self.home, device_secrets=self.options.device_secrets)

    @property
    def services(self) -> list[EmbeddedService]:
        """Those that are ours to run, in the order of starting."""
        ours: list[EmbeddedService] = []
        if self.options.database_url is None:
            ours.append(self.postgres)
        if self.options.redis_url is None:
            ours.append(self.redis)
        if self.options.mqtt_url is None:
            ours.append(self.mosquitto)
        return ours

    @property
    def database_url(self) -> str:
        return self.options.database_url or self.postgres.url

    @property
    def redis_url(self) -> str:
        return self.options.redis_url or self.redis.url

    @property
    def mqtt_url(self) -> str:
        """The backend's address of the broker, with its credentials."""
        return self.options.mqtt_url or self.mosquitto.url

    @property
    def device_mqtt_url(self) -> str:
        """The cabinets' address of the broker."""
        if self.options.device_mqtt_url is not None:
            return self.options.device_mqtt_url
        if self.options.mqtt_url is not None:
            return without_credentials(self.options.mqtt_url)
        return self.mosquitto.device_url

    @property
    def environment(self) -> dict[str, str]:
        """What the application's processes are told."""
        told = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url, "MQTT_URL": self.mqtt_url}
        broker = self.mosquitto
        if self.options.mqtt_url is None and broker.tls_url is not None and broker.secret_url is not None:
            told |= {
                "VOLTBAY_BROKER_FOLDER": str(broker.identity),
                "VOLTBAY_BROKER_PID_FILE": str(broker.pid_file),
                "VOLTBAY_CABINET_TLS_URL": broker.tls_url,
                "VOLTBAY_CABINET_SECRET_URL": broker.secret_url,
            }
        return told

    def start(self) -> None:
        """Start what is ours and wait until each answers; raises EmbeddedError with nothing left running."""
        self.home.lock()
        raise_open_files_limit()
        try:
            for service in self.services:
                service.program()  # what is missing is said before anything is started
            for service in self.services:
                if service is self.mosquitto and self.options.before_broker is not None:
                    self.mosquitto.data.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self.options.before_broker(self.database_url, self.mosquitto.identity)
                service.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, the database last; safe to call twice."""
        for service in (self.mosquitto, self.redis, self.postgres):
            service.stop()
        self.home.unlock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def raise_open_files_limit() -> None:
    """As many open files as the system lets us have, up to what thousands of cabinets need; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
