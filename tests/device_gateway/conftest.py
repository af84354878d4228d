from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from pydantic import SecretStr

from device_gateway.business import FactHandler
from device_gateway.gateway import Gateway
from fleet.db import create_engine_from
from fleet.settings import Settings
from tests.databases import Database
from tests.device_gateway.cabinet import eventually
from tests.device_gateway.support import Facts

StartGateway = Callable[..., Gateway]


@pytest.fixture
def group() -> str:
    """Shared subscription and client ids of this test's own: the broker is shared and remembers sessions."""
    return f"g{uuid4().hex[:12]}"


@pytest.fixture
def facts() -> Facts:
    return Facts()


@pytest.fixture
def start_gateway(clean_database: Database, mqtt_url: str, group: str, facts: Facts) -> Iterator[StartGateway]:
    """Start a gateway on the test's database and the broker, listening; all are stopped after the test."""
    running: list[Gateway] = []

    def start(
        name: str = "one", url: str = mqtt_url, handle: FactHandler = facts, relink_port: int | None = None
    ) -> Gateway:
        settings = Settings(
            database_url=SecretStr(clean_database.url),
            mqtt_url=SecretStr(url),
            gateway_group=group,
            relink_port=relink_port,
        )
        engine = create_engine_from(clean_database.url, pool_size=4)
        gateway = Gateway(settings, engine, handle, name=f"{group}-{name}")
        gateway.start()
        running.append(gateway)
        eventually(lambda: gateway.link.connected_since)
        return gateway

    yield start
    for gateway in running:
        gateway.stop(5)
