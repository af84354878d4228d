"""Credentials as the broker enforces them: a real Mosquitto, a real database, and what carries changes between them."""

import os
import signal
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from cli.embedded.home import Home
from cli.embedded.identity import write_identity
from cli.embedded.mosquitto import TEMPLATES, EmbeddedMosquitto
from device_gateway.broker_sync import BrokerSync
from firmware_protocol.signing import secret_text
from fleet.common.clock import utc_now
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import authority, claim_tokens, claims, credentials
from fleet.devices.claim_tokens import Binding
from fleet.devices.claims import Claim
from fleet.devices.credentials import IssuedSecret, revoke_all, secret_for
from fleet.devices.identity_models import CredentialKind, DeviceCredential
from fleet.devices.issuing import Claimed, Desk
from fleet.devices.passwords import password_file
from fleet.settings import Settings
from tests.databases import Database
from tests.factories import add_station
from tests.fleet.devices.test_claims import csr_of, new_key, proof_of
from tests.raw_mqtt import PUBLISH, Closed, RawClient, messages, publish_packet, published

#: What is promised for a revocation.
WITHIN_S = 5.0
STATIONS = 1000
_LET_IN = 0


@dataclass(slots=True)
class World:
    """A broker that checks credentials, and the database they come from."""

    database: Database
    broker: EmbeddedMosquitto
    settings: Settings
    folder: Path
    stations: dict[str, int]

    def sync(self) -> BrokerSync:
        return BrokerSync(self.settings, self.database.engine, clock=utc_now)

    @property
    def vault(self) -> Vault:
        return Vault.of(self.settings, credentials.PURPOSE)

    def secret(self, code: str, *, signs: bool = False) -> IssuedSecret:
        with session_scope(self.database.engine) as session:
            return secret_for(
                session, self.vault, station_id=self.stations[code], username=code, now=utc_now(), signs=signs
            )

    def revoke(self, code: str) -> None:
        with session_scope(self.database.engine) as session:
            revoke_all(session, self.stations[code], "stolen", utc_now())

    def port(self, url: str | None) -> int:
        assert url is not None
        return int(url.rpartition(":")[2])

    def by_secret(self, user: str, password: str, client_id: str | None = None) -> RawClient:
        """Connect with a password. Raises Closed when it is not let in."""
        client = RawClient(self.port(self.broker.secret_url))
        if client.connect(client_id or user, user, password) != _LET_IN:
            raise Closed("refused")
        return client

    def gateway(self) -> RawClient:
        client = RawClient(self.broker.port)
        password = self.broker.home.secret("mqtt_gateway")
        assert client.connect(f"observer-{time.monotonic_ns()}", "gateway", password) == _LET_IN
        return client


class Certificate:
    """A cabinet's key and certificate, on disk as TLS libraries want them."""

    def __init__(self, world: World, code: str, *, replace: bool = False, old: "Certificate | None" = None) -> None:
        self.world = world
        self.key = new_key()
        with session_scope(world.database.engine) as session:
            self.claimed = self._claim(session, code, replace=replace, old=old)
        assert self.claimed.credential.certificate_pem is not None
        self.file = world.folder / f"{self.claimed.credential.key_id}.pem"
        secret = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.file.write_bytes(secret + self.claimed.credential.certificate_pem.encode())
        self.context = ssl.create_default_context(cafile=str(world.folder / "roots.pem"))
        self.context.load_cert_chain(self.file)

    def _claim(self, session: Session, code: str, *, replace: bool, old: "Certificate | None") -> Claimed:
        now = utc_now()
        expires = now + timedelta(hours=1)
        desk = Desk.open(session, self.world.settings, now)
        (self.world.folder / "roots.pem").write_text(authority.roots(session))
        if old is not None:
            token = claim_tokens.rotation_token(session, self.world.stations[code], expires_at=expires, now=now)
            return claims.claim(
                session, Claim(token, csr_of(self.key), proof=proof_of(old.key, token, self.key)), desk, now
            )
        kind = CredentialKind.CERTIFICATE
        (made,) = claim_tokens.create_batch(
            session, [Binding(code)], kind=kind, expires_at=expires, now=now, replace=replace
        )
        return claims.claim(session, Claim(made.token, csr_of(self.key)), desk, now)

    def connect(self, client_id: str = "whatever") -> RawClient:
        """Raises Closed when it is not let in."""
        client = RawClient(self.world.port(self.world.broker.tls_url), self.context)
        if client.connect(client_id) != _LET_IN:
            raise Closed("refused")
        return client


@pytest.fixture
def world(clean_database: Database, tmp_path: Path) -> Iterator[World]:
    home = Home(tmp_path / "home")
    broker = EmbeddedMosquitto(home)
    broker.data.mkdir(parents=True, mode=0o700)
    settings = Settings(
        database_url=SecretStr(clean_database.url),
        broker_folder=broker.identity,
        broker_pid_file=broker.pid_file,
        home=home.root,
    )
    with session_scope(clean_database.engine) as session:
        stations = {code: add_station(session, utc_now(), code).id for code in ("VB-A", "VB-B")}
    write_identity(settings, clean_database.url, broker.identity)
    broker.start()
    settings = settings.model_copy(update={"mqtt_url": SecretStr(broker.url)})
    yield World(clean_database, broker, settings, tmp_path, stations)
    broker.stop()


#: What a log looks like, where data is and which process it is are not about cabinets.
_HOUSEKEEPING = ("log_", "pid_file", "connection_messages", "persistence_location")


def listeners(config: Path) -> Counter[frozenset[tuple[str, str]]]:
    """What each listener is told, whatever its port and wherever its files are; first, what all of them are."""
    found: list[set[tuple[str, str]]] = [set()]
    for line in config.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "listener":
            found.append(set())
        elif line and not name.startswith(("#", *_HOUSEKEEPING)):
            found[-1].add((name, value.rpartition("/")[2]))
    return Counter(map(frozenset, found))


def test_cabinets_meet_the_same_listeners_on_a_laptop_and_in_containers(world: World) -> None:
    """And one more on a laptop, where a name is believed (decision 0203)."""
    laptop = listeners(world.broker.data / "mosquitto.conf")
    containers = listeners(TEMPLATES / "mosquitto.conf")
    believed = frozenset({("allow_anonymous", "true"), ("acl_file", "devices.acl")})
    assert containers.total() == 5
    assert laptop - containers == Counter([believed])
    assert containers - laptop == Counter()


@pytest.fixture
def running(world: World) -> Iterator[BrokerSync]:
    sync = world.sync()
    sync.start()
    yield sync
    sync.stop(5)
    assert not sync.is_alive()


def until(fact: Callable[[], bool], within_s: float = 20.0) -> float:
    """Wait for a fact; how long it took."""
    begun = time.monotonic()
    while not fact():
        assert time.monotonic() - begun < within_s, "it did not come true"
        time.sleep(0.02)
    return time.monotonic() - begun


def is_refused(connect: Callable[[], RawClient]) -> bool:
    try:
        connect().close()
    except Closed:
        return True
    return False


def uncut(world: World) -> int:
    with session_scope(world.database.engine) as session:
        query = select(DeviceCredential.id).where(
            DeviceCredential.revoked_at.is_not(None), DeviceCredential.cut_at.is_(None)
        )
        return len(session.scalars(query).all())


@pytest.mark.usefixtures("running")
def test_a_revoked_certificate_is_out_within_seconds(world: World) -> None:
    cabinet, neighbour = Certificate(world, "VB-A"), Certificate(world, "VB-B")
    live, other = cabinet.connect(), neighbour.connect()
    begun = time.monotonic()
    world.revoke("VB-A")
    assert live.gone(WITHIN_S)
    assert is_refused(cabinet.connect)
    assert time.monotonic() - begun < WITHIN_S
    until(lambda: uncut(world) == 0)
    assert not other.gone(0.2)
    assert not is_refused(neighbour.connect)


@pytest.mark.usefixtures("running")
def test_a_secret_opens_and_its_revocation_shuts(world: World) -> None:
    issued = world.secret("VB-A")
    until(lambda: not is_refused(lambda: world.by_secret("VB-A", issued.password)), WITHIN_S)
    live = world.by_secret("VB-A", issued.password)
    assert is_refused(lambda: world.by_secret("VB-A", "guess"))
    world.revoke("VB-A")
    assert live.gone(WITHIN_S)
    assert is_refused(lambda: world.by_secret("VB-A", issued.password))
    until(lambda: uncut(world) == 0)


def test_who_signs_does_not_send_the_secret(world: World) -> None:
    issued = world.secret("VB-A", signs=True)
    world.sync().round()
    assert is_refused(lambda: world.by_secret("VB-A", secret_text(issued.secret)))
    world.by_secret("VB-A", issued.password).close()


def test_a_fixed_password_does_not_outlive_a_credential(world: World) -> None:
    """It works until the credential was used once, and not after a revocation."""
    static = world.folder / "static.passwords"
    static.write_text(password_file({"VB-A": "fixed", "VB-B": "fixed"}))
    world.settings = world.settings.model_copy(update={"broker_static_passwords": static})
    mine = Certificate(world, "VB-A")
    world.sync().round()
    for code in ("VB-A", "VB-B"):
        world.by_secret(code, "fixed").close()
    with session_scope(world.database.engine) as session:
        credentials.confirm(session, world.stations["VB-A"], mine.claimed.credential.key_id, utc_now())
    world.sync().round()
    assert is_refused(lambda: world.by_secret("VB-A", "fixed"))
    mine.connect().close()
    world.revoke("VB-A")
    world.sync().round()
    assert is_refused(mine.connect)
    assert is_refused(lambda: world.by_secret("VB-A", "fixed"))
    world.by_secret("VB-B", "fixed").close()


def test_a_secret_may_also_be_told_inside_tls(world: World) -> None:
    issued = world.secret("VB-A")
    world.sync().round()
    with session_scope(world.database.engine) as session:
        (world.folder / "roots.pem").write_text(authority.roots(session))
    sealed = ssl.create_default_context(cafile=str(world.folder / "roots.pem"))
    port = world.port(world.broker.sealed_url)
    assert RawClient(port, sealed).connect("whatever", "VB-A", issued.password) == _LET_IN
    assert RawClient(port, sealed).connect("whatever", "VB-A", "guessed") != _LET_IN


def test_nobody_comes_without_a_certificate_of_the_fleet(world: World) -> None:
    mine = Certificate(world, "VB-A")
    stranger = ssl.create_default_context(cafile=str(world.folder / "roots.pem"))
    port = world.port(world.broker.tls_url)
    with pytest.raises(Closed):
        RawClient(port, stranger).connect("VB-A", "VB-A")
    with pytest.raises(Closed):
        RawClient(port).connect("VB-A", "VB-A")
    # The broker is no less checked by the cabinet: it trusts the fleet's root and nobody else's.
    with pytest.raises(Closed):
        RawClient(port, ssl.create_default_context())
    mine.connect().close()


def test_nobody_takes_over_the_session_of_another(world: World) -> None:
    """Whatever client id one cabinet gives, it is known by its own name."""
    first, second = Certificate(world, "VB-A"), Certificate(world, "VB-B")
    live = first.connect("VB-A")
    thief = second.connect("VB-A")
    assert not live.gone(0.5)
    assert not thief.gone(0.1)
    again = first.connect("something else")
    assert live.gone(2)
    again.close()


def test_the_successor_works_beside_the_old_one_until_it_is_seen(world: World) -> None:
    old = Certificate(world, "VB-A")
    new = Certificate(world, "VB-A", old=old)
    world.sync().round()
    for each in (old, new, old):
        each.connect().close()
    with session_scope(world.database.engine) as session:
        assert credentials.confirm(session, world.stations["VB-A"], new.claimed.credential.key_id, utc_now())
    live = new.connect()
    world.sync().round()
    assert is_refused(old.connect)
    assert not live.gone(0.3)
    assert uncut(world) == 0


def test_a_board_that_was_replaced_is_cut_and_the_new_one_stays(world: World) -> None:
    old = Certificate(world, "VB-A")
    live = old.connect()
    new = Certificate(world, "VB-A", replace=True)
    world.sync().round()
    assert live.gone(2)
    assert is_refused(old.connect)
    replacement = new.connect()
    world.sync().round()
    assert not replacement.gone(0.5)
    assert uncut(world) == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_kept_tls_session_does_not_get_round_the_list(world: World, version: ssl.TLSVersion) -> None:
    cabinet = Certificate(world, "VB-A")
    cabinet.context.maximum_version = version
    live = cabinet.connect()
    assert isinstance(live.socket, ssl.SSLSocket)
    kept = live.socket.session
    world.revoke("VB-A")
    world.sync().round()
    with pytest.raises((Closed, OSError)):  # noqa: PT012  # either the handshake or the first answer fails
        plain = RawClient(world.port(world.broker.tls_url)).socket
        secure = cabinet.context.wrap_socket(plain, server_hostname="localhost", session=kept)
        secure.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x")
        if not secure.recv(4):
            raise Closed("end of stream")


def test_a_crash_between_writing_and_telling_costs_one_round(world: World) -> None:
    cabinet = Certificate(world, "VB-A")
    world.revoke("VB-A")
    world.sync().write()
    # Dead before the broker was told; the next one, in another process, finishes.
    assert not is_refused(cabinet.connect)
    world.sync().round()
    assert is_refused(cabinet.connect)
    assert uncut(world) == 0


@pytest.mark.usefixtures("running")
def test_a_broker_that_was_away_comes_back_with_what_happened(world: World) -> None:
    cabinet = Certificate(world, "VB-A")
    world.broker.kill()
    world.revoke("VB-A")
    world.broker.start()
    until(lambda: uncut(world) == 0)
    assert is_refused(cabinet.connect)


def test_the_broker_is_not_signalled_without_need(world: World) -> None:
    world.sync().round()
    pid = world.broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        world.sync().round()  # would wait for the broker's answer
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_clock_ten_years_off_locks_nobody_out(world: World) -> None:
    """The sync's clock runs ten years behind, then ahead: revocations of that time count, and so do later ones."""
    first, second = Certificate(world, "VB-A"), Certificate(world, "VB-B")
    world.revoke("VB-A")
    ten_years = timedelta(days=3650)
    BrokerSync(world.settings, world.database.engine, clock=lambda: utc_now() - ten_years).prepare()
    BrokerSync(world.settings, world.database.engine, clock=lambda: utc_now() + ten_years).prepare()
    world.sync().round()
    assert is_refused(first.connect)
    second.connect().close()
    world.revoke("VB-B")
    world.sync().round()
    assert is_refused(first.connect)
    assert is_refused(second.connect)


def _thousand(world: World) -> list[str]:
    """That many users with the password of their name, straight into the database."""
    codes = [f"VB-{number:04d}" for number in range(STATIONS)]
    hashes = dict(line.split(":", 1) for line in password_file({code: code for code in codes}).splitlines())
    with session_scope(world.database.engine) as session:
        stations = {code: add_station(session, utc_now(), code, 1).id for code in codes[:1]}
    world.stations |= stations
    static = world.folder / "static.passwords"
    static.write_text("".join(f"{code}:{digest}\n" for code, digest in hashes.items()))
    world.settings = world.settings.model_copy(update={"broker_static_passwords": static})
    world.sync().round()
    return codes


def test_every_identity_against_the_topics_of_every_other(world: World) -> None:
    """A thousand identities, a million pairs each way.

    Read: all of them listen to everything, the backend speaks once to each. Write: each one speaks on the topics of
    all. What arrives must be each one's own, and nothing else.
    """
    codes = _thousand(world)
    clients = {code: world.by_secret(code, code) for code in codes}
    gateway = world.gateway()
    gateway.subscribe("vb/v1/+/up/#")
    for client in clients.values():
        client.subscribe("#", "$SYS/#", "vb/v1/+/down/#", "$share/g/vb/v1/+/up/#")

    for code in codes:
        gateway.publish(f"vb/v1/{code}/down/command", code.encode())
    for code, client in clients.items():
        gateway.publish(f"vb/v1/{code}/down/ack", b"end")
        assert set(messages(client, b"end")) == {(f"vb/v1/{code}/down/command", code.encode())}

    mark = b"?" * 7
    burst = b"".join(publish_packet(f"vb/v1/{code}/up/event", mark) for code in codes)
    for code, client in clients.items():
        client.send(burst.replace(mark, code.encode()))
    arrived: set[tuple[str, bytes]] = set()
    while len(arrived) < STATIONS:
        kind, body = gateway.receive(60)
        assert kind == PUBLISH
        topic, payload = published(body)
        assert topic == f"vb/v1/{payload.decode()}/up/event"
        arrived.add((topic, payload))
    for client in clients.values():
        client.close()


@pytest.mark.parametrize("kind", list(CredentialKind))
def test_what_no_cabinet_may(world: World, kind: CredentialKind) -> None:
    """Every rule once for each way of proving oneself: own topics the wrong way, others', the broker's own."""
    if kind is CredentialKind.CERTIFICATE:
        cabinet, other = (Certificate(world, code).connect() for code in ("VB-A", "VB-B"))
    else:
        secrets = {code: world.secret(code) for code in ("VB-A", "VB-B")}
        world.sync().round()
        cabinet, other = (world.by_secret(code, issued.password) for code, issued in secrets.items())
    gateway = world.gateway()
    gateway.subscribe("#", "$SYS/broker/clients/total")
    other.subscribe("#")
    forbidden = [
        "vb/v1/VB-B/up/event", "vb/v1/VB-B/down/command", "vb/v1/VB-A/down/command",
        "vb/v1//up/event", "vb/v2/VB-A/up/event", "$SYS/broker/uptime", "$CONTROL/dynamic-security/v1", "VB-A",
        "vb/v1/VB-A/../VB-B/up/event",
    ]  # fmt: skip
    for topic in forbidden:
        cabinet.publish(topic, b"forbidden")
    cabinet.publish("vb/v1/VB-A/up/event", b"end")
    assert [payload for _, payload in messages(gateway, b"end") if payload == b"forbidden"] == []
    gateway.publish("vb/v1/VB-B/down/ack", b"end")
    assert [payload for _, payload in messages(other, b"end") if payload == b"forbidden"] == []


def test_the_table_of_revocations_is_bounded_by_what_is_still_valid(world: World) -> None:
    """What ran out by itself needs no entry any more."""
    cabinet = Certificate(world, "VB-A")
    world.revoke("VB-A")
    world.sync().round()
    listed = (world.broker.identity / "revoked.pem").read_text()
    with session_scope(world.database.engine) as session:
        session.execute(update(DeviceCredential).values(expires_at=utc_now() - timedelta(days=1)))
    world.sync().round()
    assert len((world.broker.identity / "revoked.pem").read_text()) < len(listed)
    cabinet.file.unlink()
