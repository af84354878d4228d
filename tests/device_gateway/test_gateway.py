"""Whole gateways on a real broker and a real database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import text

from cli.embedded.home import Home
from cli.embedded.mosquitto import EmbeddedMosquitto
from device_gateway.gateway import Gateway
from firmware_protocol.commands import QueryInventory, Resend, Welcome
from firmware_protocol.messages import Heartbeat, Online, SlotSample, SlotTelemetry
from firmware_protocol.types import ResetCause
from tests.databases import Database, DatabaseServer
from tests.device_gateway.cabinet import Cabinet, eventually
from tests.device_gateway.conftest import StartGateway
from tests.device_gateway.support import Facts, add_station, booted, insert, lock, up


@pytest.fixture
def code(clean_database: Database, group: str) -> str:
    add_station(clean_database.engine, group)
    return group


@pytest.fixture
def cabinet(code: str, device_mqtt_url: str) -> Iterator[Cabinet]:
    with Cabinet(code, device_mqtt_url) as cabinet:
        yield cabinet


def count(database: Database, query: str) -> int:
    with database.engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


def test_a_cabinet_boots_is_asked_for_its_inventory_and_acknowledged(
    start_gateway: StartGateway, cabinet: Cabinet, code: str, facts: Facts
) -> None:
    start_gateway()
    cabinet.send(booted(code, 1, cause=ResetCause.RECONNECT))
    eventually(lambda: cabinet.heard(Welcome))
    (command,) = eventually(cabinet.commands)
    assert isinstance(command.command, QueryInventory)
    cabinet.send(insert(code, 1), lock(code, 2))
    eventually(lambda: cabinet.acked() == 2)
    assert facts.order == [(code, 1, 1)]


def test_a_gap_is_asked_for_and_given_up(
    start_gateway: StartGateway, cabinet: Cabinet, code: str, facts: Facts
) -> None:
    start_gateway()
    cabinet.send(insert(code, 1), insert(code, 3))
    (resend,) = eventually(lambda: cabinet.heard(Resend))
    assert [(each.first, each.last) for each in resend.ranges] == [(2, 2)]
    assert facts.order == [(code, 1, 1)]
    eventually(lambda: len(facts.order) == 2)
    assert cabinet.acked() == 1
    cabinet.send(insert(code, 2))
    eventually(lambda: cabinet.acked() == 3)


def test_samples_are_stored(start_gateway: StartGateway, cabinet: Cabinet, code: str, clean_database: Database) -> None:
    start_gateway()
    sample = SlotTelemetry(slots=(SlotSample(slot=1, charge_pct=50), SlotSample(slot=2, temperature_c=21.5)))
    for _ in range(2):
        cabinet.send(up(code, 1, Heartbeat(signal_dbm=-70, mains=True)), up(code, 2, sample))
    eventually(lambda: count(clean_database, "SELECT count(*) FROM slot_telemetry") == 2)
    assert count(clean_database, "SELECT count(*) FROM station_telemetry WHERE mains AND signal_dbm = -70") == 1


def test_what_was_not_acknowledged_comes_again_after_a_crash(
    start_gateway: StartGateway, cabinet: Cabinet, code: str, facts: Facts
) -> None:
    first = start_gateway("same")
    cabinet.send(insert(code, 1))
    eventually(lambda: cabinet.acked() == 1)
    for lane in first.lanes.all:
        lane.abort()  # as if killed: nothing more is stored or acknowledged
        lane.join(5)
    cabinet.send(insert(code, 2), insert(code, 3))
    first.stop(1)
    start_gateway("same")
    eventually(lambda: len(facts.order) == 3)
    assert facts.order == [(code, 1, 1), (code, 1, 2), (code, 1, 3)]


def test_stopping_stores_and_acknowledges_what_is_here(
    start_gateway: StartGateway, cabinet: Cabinet, code: str, clean_database: Database
) -> None:
    gateway = start_gateway()
    cabinet.send(*[lock(code, seq) for seq in range(1, 501)])
    eventually(lambda: count(clean_database, "SELECT count(*) FROM device_event") > 0)
    gateway.stop()
    stored = count(clean_database, "SELECT count(*) FROM device_event")
    eventually(lambda: cabinet.acked() == stored)
    assert count(clean_database, "SELECT count(*) FROM gateway_instance") == 0
    start_gateway()  # the broker has kept the rest
    eventually(lambda: cabinet.acked() == 500)
    assert count(clean_database, "SELECT count(*) FROM device_event") == 500


def test_while_the_database_is_away_nothing_is_acknowledged_and_nothing_is_lost(
    start_gateway: StartGateway,
    cabinet: Cabinet,
    code: str,
    facts: Facts,
    clean_database: Database,
    database_server: DatabaseServer,
) -> None:
    gateway = start_gateway()
    cabinet.send(booted(code, 1), insert(code, 1))
    eventually(lambda: cabinet.acked() == 1)
    with database_away(clean_database, database_server):
        cabinet.send(insert(code, 2), insert(code, 3), booted(code, 2))
        eventually(lambda: any(each.retry_after_s for each in cabinet.heard(Welcome)))
        assert cabinet.acked() == 1
        assert len(facts.order) == 1
        assert all(thread.is_alive() for thread in (gateway.link, *gateway.lanes.all, gateway.dispatcher))
    eventually(lambda: cabinet.acked() == 3, 30)
    assert facts.order == [(code, 1, 1), (code, 1, 2), (code, 1, 3)]
    eventually(lambda: cabinet.heard(Welcome)[-1].epoch == 2 and cabinet.heard(Welcome)[-1].retry_after_s is None)


def test_what_the_database_never_took_comes_again_from_the_broker(
    start_gateway: StartGateway,
    cabinet: Cabinet,
    code: str,
    facts: Facts,
    clean_database: Database,
    database_server: DatabaseServer,
) -> None:
    """This cabinet repeats nothing: what the broker heard to be safe before it was would be gone."""
    first = start_gateway("same")
    cabinet.send(booted(code, 1), insert(code, 1))
    eventually(lambda: cabinet.acked() == 1)
    with database_away(clean_database, database_server):
        cabinet.send(insert(code, 2), insert(code, 3), booted(code, 2))
        eventually(lambda: any(each.retry_after_s for each in cabinet.heard(Welcome)))
        for lane in first.lanes.all:
            lane.abort()  # as if killed
            lane.join(5)
        first.link.stop(1)
    first.stop(1)
    start_gateway("same")
    eventually(lambda: len(facts.order) == 3, 30)
    assert facts.order == [(code, 1, 1), (code, 1, 2), (code, 1, 3)]


@contextmanager
def database_away(database: Database, server: DatabaseServer) -> Iterator[None]:
    """Nobody is connected, and nobody may connect."""
    name = database.engine.url.database
    admin = psycopg2.connect(server.url)
    admin.autocommit = True
    try:
        with admin.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            yield
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    finally:
        admin.close()


def test_two_gateways_share_the_work(
    start_gateway: StartGateway, cabinet: Cabinet, code: str, facts: Facts, clean_database: Database
) -> None:
    gateways = [start_gateway(name) for name in ("one", "two")]
    cabinet.send(*[insert(code, seq) for seq in range(1, 101)])
    eventually(lambda: cabinet.acked() == 100, 30)
    assert facts.order == [(code, 1, seq) for seq in range(1, 101)]
    assert all(_received(gateway) > 0 for gateway in gateways)
    alive = "SELECT count(*) FROM gateway_instance WHERE connected_since IS NOT NULL"
    eventually(lambda: count(clean_database, alive) == 2)
    gateways[0].stop()  # the other one is alive: it gets everything from now on
    cabinet.send(*[insert(code, seq) for seq in range(101, 121)])
    eventually(lambda: cabinet.acked() == 120, 30)


def _received(gateway: Gateway) -> float:
    return gateway.metrics.registry.get_sample_value("voltbay_gateway_received_total", {"lane": "events"}) or 0.0


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedMosquitto]:
    """One that may be killed."""
    broker = EmbeddedMosquitto(Home(tmp_path))
    broker.start()
    yield broker
    broker.stop()


def test_what_the_broker_retains_is_no_sign_of_life(start_gateway: StartGateway, cabinet: Cabinet, code: str) -> None:
    """Of a cabinet that spoke when no gateway was there."""
    online = up(code, 0, Online(epoch=1))
    cabinet.send(online, retain=True)
    gateway = start_gateway()
    cabinet.send(insert(code, 1))
    eventually(lambda: cabinet.acked() == 1)
    assert gateway.metrics.registry.get_sample_value("voltbay_gateway_applied_total", {"type": "online"}) is None


def test_after_the_broker_died_the_gateway_subscribes_again(
    start_gateway: StartGateway, own_broker: EmbeddedMosquitto, code: str, facts: Facts
) -> None:
    gateway = start_gateway(url=own_broker.url)
    with Cabinet(code, own_broker.device_url) as cabinet:
        cabinet.send(insert(code, 1))
        eventually(lambda: cabinet.acked() == 1)
    own_broker.kill()
    eventually(lambda: gateway.link.connected_since is None)
    own_broker.start()
    eventually(lambda: gateway.link.connected_since)
    with Cabinet(code, own_broker.device_url) as cabinet:
        cabinet.send(insert(code, 2))
        eventually(lambda: cabinet.acked() == 2)
    assert facts.order == [(code, 1, 1), (code, 1, 2)]
    assert gateway.link.generation >= 2
