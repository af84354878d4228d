"""Cabinets with credentials, from the token to the end: API, database, broker, gateway and simulators, all real."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select

from api.addresses import claim_url
from cli.embedded.home import Home
from cli.embedded.identity import write_identity
from cli.embedded.mosquitto import EmbeddedMosquitto
from device_gateway.business import fact_handler
from device_gateway.gateway import Gateway
from device_gateway.guard import FORGED
from fleet.common.clock import utc_now
from fleet.db import session_scope
from fleet.devices import claim_tokens, credentials
from fleet.devices.claim_tokens import Binding
from fleet.devices.identity_models import CredentialKind, CredentialState, DeviceCredential
from fleet.devices.logs import collect
from fleet.devices.logs.models import LogState
from fleet.devices.models import DeadLetter, DeviceEvent, DeviceSession
from fleet.devices.rotation import start_rotation
from fleet.settings import Settings
from fleet.stations.models import Station
from simulators.fleet import SimulatedFleet
from simulators.spec import ClaimSpec, FleetSpec, StationSpec
from simulators.testing import FleetThread
from tests.api.conftest import free_port, start
from tests.databases import Database
from tests.device_gateway.test_broker_sync import until
from tests.factories import add_station

HOUR = timedelta(hours=1)
#: What each of the two cabinets proves itself with.
KINDS = {"VB-CERT": CredentialKind.CERTIFICATE, "VB-SIGN": CredentialKind.SECRET}


@dataclass(slots=True)
class Story:
    database: Database
    settings: Settings
    cabinets: FleetThread

    def states(self, code: str) -> list[CredentialState]:
        """Of its credentials, oldest first."""
        query = (
            select(DeviceCredential.state)
            .join(Station, Station.id == DeviceCredential.station_id)
            .where(Station.code == code)
        )
        with session_scope(self.database.engine) as session:
            return list(session.scalars(query.order_by(DeviceCredential.id)))

    def open_sessions(self) -> int:
        with session_scope(self.database.engine) as session:
            query = select(func.count()).select_from(DeviceSession).where(DeviceSession.ended_at.is_(None))
            return session.scalar(query) or 0

    def events(self, kind: str) -> int:
        with session_scope(self.database.engine) as session:
            query = select(func.count()).select_from(DeviceEvent).where(DeviceEvent.type == kind)
            return session.scalar(query) or 0

    def log(self, log: UUID) -> str:
        """What it says once it is whole."""
        with session_scope(self.database.engine) as session:
            if collect.get_log(session, log).state is not LogState.COMPLETE:
                return ""
            return gzip.decompress(b"".join(collect.content_gzip(session, log))).decode()

    def welcomed(self) -> int:
        return self.cabinets.call(lambda fleet: fleet.welcomed)


@pytest.fixture
def broker(clean_database: Database, tmp_path: Path) -> Iterator[EmbeddedMosquitto]:
    broker = EmbeddedMosquitto(Home(tmp_path / "home"))
    broker.data.mkdir(parents=True, mode=0o700)
    write_identity(Settings(), clean_database.url, broker.identity)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def settings(clean_database: Database, broker: EmbeddedMosquitto, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        database_url=SecretStr(clean_database.url),
        redis_url=SecretStr(redis_url),
        mqtt_url=SecretStr(broker.url),
        http_port=free_port(),
        home=tmp_path / "home",
        rate_limit_scale=0.0,
        broker_folder=broker.identity,
        broker_pid_file=broker.pid_file,
        cabinet_tls_url=broker.tls_url,
        cabinet_secret_url=broker.secret_url,
    )


def _station(settings: Settings, database: Database, code: str, kind: CredentialKind) -> StationSpec:
    now = utc_now()
    with session_scope(database.engine) as session:
        add_station(session, now, code, online=False)
        (made,) = claim_tokens.create_batch(session, [Binding(code)], kind=kind, expires_at=now + HOUR, now=now)
    claim = ClaimSpec(url=claim_url(settings), token=made.token, kind=kind.value)
    return StationSpec(code=code, name=code, slots=4, lat=47.0, lon=8.0, claim=claim)


@pytest.fixture
def story(clean_database: Database, settings: Settings, broker: EmbeddedMosquitto) -> Iterator[Story]:
    stations = tuple(_station(settings, clean_database, code, kind) for code, kind in KINDS.items())
    server, thread = start(settings)
    gateway = Gateway(settings, clean_database.engine, fact_handler(settings), name="g")
    gateway.start()
    try:
        with FleetThread(FleetSpec(seed=1, stations=stations), broker.device_url) as cabinets:
            cabinets.wait_welcomed(60)
            yield Story(clean_database, settings, cabinets)
    finally:
        gateway.stop()
        server.handle_exit(15, None)
        thread.join(10)


def _renew_from_now(fleet: SimulatedFleet) -> None:
    driver = fleet["VB-CERT"]
    assert driver.identity is not None
    assert driver.identity.kept.current is not None
    driver.identity.kept.current.renew_from = utc_now()
    driver.errands.renew_when_due()


def test_claimed_rotated_revoked(story: Story) -> None:
    for code in KINDS:
        until(lambda code=code: story.states(code) == [CredentialState.CURRENT])  # type: ignore[misc]
    assert story.open_sessions() == 2

    # Each brings its log over HTTP, signed with what it has; nothing of it passes the broker.
    with session_scope(story.database.engine) as session:
        asked = [collect.request_log(session, code, utc_now()).id for code in KINDS]
    for log in asked:
        until(lambda log=log: "boot 1" in story.log(log), 60)  # type: ignore[misc]
    assert story.events("log_chunk") == 0

    now = utc_now()
    with session_scope(story.database.engine) as session:
        ids = {row.code: row.id for row in session.scalars(select(Station))}
        for station_id in ids.values():
            start_rotation(session, station_id, url=claim_url(story.settings), deadline=now + HOUR, now=now)
    for code in KINDS:
        until(lambda code=code: story.states(code) == [CredentialState.REVOKED, CredentialState.CURRENT], 60)  # type: ignore[misc]
    until(lambda: story.welcomed() == 2, 60)

    # The certificate is about to end: its cabinet renews it by itself.
    with session_scope(story.database.engine) as session:
        current = credentials.current_credential(session, ids["VB-CERT"])
        assert current is not None
        rotated = current.key_id
        current.issued_at, current.expires_at = utc_now() - timedelta(days=700), utc_now() + HOUR
    story.cabinets.call(_renew_from_now)
    until(lambda: story.states("VB-CERT") == [*[CredentialState.REVOKED] * 2, CredentialState.CURRENT], 60)
    with session_scope(story.database.engine) as session:
        current = credentials.current_credential(session, ids["VB-CERT"])
        assert current is not None
        assert current.key_id != rotated
    until(lambda: story.welcomed() == 2, 60)

    with session_scope(story.database.engine) as session:
        for station_id in ids.values():
            credentials.revoke_all(session, station_id, "stolen", utc_now())
    assert until(lambda: story.welcomed() == 0) < 5
    # The will of one that signs is signed with the revoked secret and counts for nothing: silence ends its session.
    until(lambda: story.open_sessions() <= 1)
    with session_scope(story.database.engine) as session:
        letters = session.scalars(select(DeadLetter.error_code)).all()
    assert set(letters) <= {FORGED}, letters
