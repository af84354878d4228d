"""The whole system with simulated cabinets, each process its own, as `voltbay up` runs it."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.request import urlopen

import psutil
from sqlalchemy import Engine, TextClause, select, text

from benchmarks.services import Services, command, process, services, wait_for
from cli.processes import APPLICATION, command_of
from cli.seed import OPERATOR_EMAIL, seed_demo
from fleet.common.clock import utc_now
from fleet.common.money import Money
from fleet.db import new_id, session_scope
from fleet.payments.wallets import adjust
from fleet.settings import Settings
from fleet.users import tokens
from fleet.users.models import Role, User, UserStatus
from simulators.spec import FleetSpec, default_fleet

_START_S = 180.0
#: Every station is online and has told what it holds.
_KNOWN: Final = text("""
SELECT NOT EXISTS (SELECT FROM station WHERE NOT online)
   AND NOT EXISTS (SELECT FROM station_slot WHERE observed_at IS NULL)
""")


#: Nothing waits in the outbox, nobody has still to take what was sent, and no question waits for its answer.
SETTLED: Final = text("""
SELECT NOT EXISTS (SELECT FROM outbox_event o WHERE o.dispatched_at IS NULL OR (o.settled_at IS NULL
           AND NOT EXISTS (SELECT FROM processed_event p WHERE p.event_id = o.id)))
   AND NOT EXISTS (SELECT FROM device_command WHERE state IN ('queued', 'sent'))
""")


@dataclass(frozen=True, slots=True)
class Whole:
    services: Services
    settings: Settings
    fleet: FleetSpec
    processes: Mapping[str, subprocess.Popen[str]]

    @property
    def engine(self) -> Engine:
        return self.services.engine

    @property
    def pids(self) -> dict[str, int]:
        return {name: each.pid for name, each in self.processes.items()} | self.services.pids


@contextmanager
def whole(stations: int, *, processes: tuple[str, ...] = APPLICATION, seed: bool = True) -> Iterator[Whole]:
    """Services, schema, demo data of `stations` cabinets and the processes; no cabinet is connected yet."""
    fleet = default_fleet(stations)
    with ExitStack() as stack:
        running = stack.enter_context(services())
        settings = settings_for(running)
        if seed:
            seed_demo(running.postgres.url, fleet, settings.currency, utc_now())
        environment = {**running.environment, "VOLTBAY_HTTP_PORT": str(settings.http_port)}
        started = {}
        for name in processes:
            output = stack.enter_context((running.home.logs / f"{name}.log").open("wb"))
            argv = command_of(name, home=running.home.root)
            started[name] = stack.enter_context(command(argv, environment, stdout=output, stderr=subprocess.STDOUT))
        # Ready means that a gateway is there too.
        health = "ready" if "gateway" in processes else "live"
        wait_for(started["api"], "API", lambda: answers(f"{settings.base_url}/health/{health}"), _START_S)
        yield Whole(running, settings, fleet, started)


@contextmanager
def cabinets(system: Whole) -> Iterator[subprocess.Popen[str]]:
    """All cabinets of the fleet connected and welcomed, and their slots known; they eject in 0 ms."""
    arguments = ["--mqtt", system.services.mosquitto.url, "--stations", str(len(system.fleet.stations))]
    arguments += ["--seed", str(system.fleet.seed), "--eject-ms", "0"]
    with process(["simulators", *arguments], stdout=subprocess.DEVNULL) as running:
        wait_for(running, "cabinets", lambda: holds(system, _KNOWN) and holds(system, SETTLED), _START_S)
        yield running


def settings_for(running: Services) -> Settings:
    return Settings(
        database_url=running.postgres.url,
        redis_url=running.redis.url,
        mqtt_url=running.mosquitto.url,
        home=running.home.root,
        http_port=running.home.port("http"),
        rate_limit_scale=0.0,
        log_level="WARNING",
    )


def answers(url: str) -> bool:
    """Whether it is there and says 200."""
    try:
        with urlopen(url, timeout=2) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


def holds(system: Whole, query: TextClause, **values: Any) -> bool:
    """What the query says of the database."""
    with system.engine.connect() as connection:
        return bool(connection.scalar(query, values))


def riders(system: Whole, number: int) -> list[str]:
    """Access tokens of new riders with 20.00 each."""
    now = utc_now()
    keys = tokens.TokenKeys.from_settings(system.settings)
    found = []
    with session_scope(system.engine) as session:
        operator = session.scalars(select(User.id).where(User.email == OPERATOR_EMAIL)).one()
        for index in range(number):
            user = User(
                id=new_id(),
                email=f"bench-{index}@example.com",
                role=Role.RIDER,
                status=UserStatus.ACTIVE,
                tokens_valid_from=now,
                created_at=now,
            )
            session.add(user)
            session.flush()
            money = Money(2000, system.settings.currency)
            adjust(session, user_id=user.id, money=money, reason="benchmark", actor_id=operator, key="bench", now=now)
            found.append(tokens.issue(session, user, now, system.settings, keys=keys).access_token)
    with system.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    return found


def processes_of(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]
