"""The broker's configuration as containers mount it, run by the real broker with only paths and ports changed."""

import os
import queue
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cli.embedded.home import Home
from cli.embedded.mosquitto import EmbeddedMosquitto
from cli.embedded.mosquitto_version import is_forgetful, version_of
from cli.embedded.ports import free_port
from fleet.devices.authority import Issuer
from fleet.devices.passwords import password_file
from tests.deploy import compose
from tests.deploy.compose import ROOT

_WAIT_S = 5.0
SUCCESS = 0
NOT_AUTHORIZED = 135


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the containers' volumes hold, and the configuration with its paths moved here."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (tmp_path / "data").mkdir()
    (secrets / "gateway.passwords").write_text(password_file({"gateway": "gate"}))
    identity = secrets / "identity"
    _make_certificate(identity)
    issuer = _issuer()
    (identity / "authority.pem").write_text(issuer.pem)
    (identity / "revoked.pem").write_text(issuer.revocations((), 1))
    (identity / "devices.passwords").write_text(password_file({"VB-1": "one"}))
    for source in (ROOT / "mosquitto").rglob("*"):
        if source.is_file():
            target = tmp_path / "config" / source.relative_to(ROOT / "mosquitto")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text().replace("/mosquitto/", f"{tmp_path}/"))
    return tmp_path


@contextmanager
def _running(folder: Path, main: Path, ports: list[int]) -> Iterator[None]:
    # As root the broker would become a user who may not read our files; containers start it as its own user.
    root = ["user root\n"] if os.geteuid() == 0 else []
    main.write_text("".join([*root, main.read_text()]))
    log = folder / "log"
    with log.open("wb") as output:
        broker = subprocess.Popen(
            [str(EmbeddedMosquitto(Home(folder / "home")).program()), "-c", str(main)], stdout=output, stderr=output
        )
    try:
        for port in ports:
            _wait_for(port, broker, log)
        yield
    finally:
        broker.terminate()
        assert broker.wait(_WAIT_S) == 0


def _wait_for(port: int, broker: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline and broker.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"the broker does not listen on {port}:\n{log.read_text()}")


def _moved_ports(config: Path, ports: dict[int, int]) -> None:
    text = config.read_text()
    for old, new in ports.items():
        text = text.replace(f"listener {old}", f"listener {new}")
    config.write_text(text)


def _connack(port: int, user: str | None, password: str | None, authority: Path | None = None) -> int:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    if user is not None:
        client.username_pw_set(user, password)
    if authority is not None:
        client.tls_set_context(ssl.create_default_context(cafile=str(authority)))
    answers: queue.Queue[int] = queue.Queue()
    client.on_connect = lambda *call: answers.put(call[3].value)
    client.connect("localhost" if authority else "127.0.0.1", port)
    client.loop_start()
    try:
        return answers.get(timeout=_WAIT_S)
    finally:
        client.disconnect()
        client.loop_stop()


def test_cabinets_and_gateways_each_have_a_listener_and_nobody_comes_unknown(folder: Path) -> None:
    cabinets, gateways = free_port(), free_port()
    main = folder / "config" / "mosquitto.conf"
    _moved_ports(main, {1883: cabinets, 1884: gateways, 8883: free_port(), 8884: free_port()})
    with _running(folder, main, [cabinets, gateways]):
        assert _connack(cabinets, "VB-1", "one") == SUCCESS
        assert _connack(cabinets, "VB-1", "two") == NOT_AUTHORIZED
        assert _connack(cabinets, "gateway", "gate") == NOT_AUTHORIZED
        assert _connack(cabinets, None, None) == NOT_AUTHORIZED
        assert _connack(gateways, "gateway", "gate") == SUCCESS
        assert _connack(gateways, "VB-1", "one") == NOT_AUTHORIZED
        assert _connack(gateways, None, None) == NOT_AUTHORIZED


def test_the_broker_of_the_containers_is_none_of_the_forgetful() -> None:
    default = compose.services()["mosquitto"]["image"].partition(":-")[2]
    found = re.match(r"eclipse-mosquitto:(\d+)\.(\d+)\.(\d+)", default)
    assert found
    assert not is_forgetful((int(found[1]), int(found[2]), int(found[3])))


def _gateway(port: int, heard: "queue.Queue[bytes]") -> mqtt.Client:
    """With a session that the broker keeps, as a gateway's; returns once it is subscribed."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "gateway-1", protocol=mqtt.MQTTv5)
    client.username_pw_set("gateway", "gate")
    subscribed: queue.Queue[bool] = queue.Queue()

    def subscribe(*_: object) -> None:
        client.subscribe("$share/gateway/vb/v1/+/up/event", 1)

    client.on_connect = subscribe
    client.on_subscribe = lambda *_: subscribed.put(True)
    client.on_message = lambda *call: heard.put(call[2].payload)
    kept = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no annotation there
    kept.SessionExpiryInterval = 120
    client.connect("127.0.0.1", port, clean_start=False, properties=kept)
    client.loop_start()
    assert subscribed.get(timeout=_WAIT_S)
    return client


def test_what_cabinets_say_while_a_gateway_is_away_is_kept_for_it(folder: Path) -> None:
    """Some versions of Mosquitto forget it (docs/decisions/0332); the one in docker-compose.yml does not."""
    version = version_of(EmbeddedMosquitto(Home(Path("none"))).program())
    assert version
    if is_forgetful(version):
        pytest.skip(f"Mosquitto {'.'.join(map(str, version))} keeps nothing for who is away")
    cabinets, gateways = free_port(), free_port()
    main = folder / "config" / "mosquitto.conf"
    _moved_ports(main, {1883: cabinets, 1884: gateways, 8883: free_port(), 8884: free_port()})
    with _running(folder, main, [cabinets, gateways]):
        heard: queue.Queue[bytes] = queue.Queue()
        away = _gateway(gateways, heard)
        away.disconnect()
        away.loop_stop()
        cabinet = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        cabinet.username_pw_set("VB-1", "one")
        cabinet.connect("127.0.0.1", cabinets)
        cabinet.loop_start()
        cabinet.publish("vb/v1/VB-1/up/event", b"a bank is back", qos=1).wait_for_publish(_WAIT_S)
        back = _gateway(gateways, heard)
        assert heard.get(timeout=_WAIT_S) == b"a bank is back"
        for client in (cabinet, back):
            client.disconnect()
            client.loop_stop()


def test_tls_with_a_password_beside_the_rest(folder: Path) -> None:
    cabinets, gateways, mutual, secure = free_port(), free_port(), free_port(), free_port()
    main = folder / "config" / "mosquitto.conf"
    _moved_ports(main, {1883: cabinets, 1884: gateways, 8883: mutual, 8884: secure})
    authority = folder / "secrets" / "identity" / "server.pem"
    with _running(folder, main, [cabinets, gateways, mutual, secure]):
        assert _connack(secure, "VB-1", "one", authority) == SUCCESS
        assert _connack(secure, "VB-1", "two", authority) == NOT_AUTHORIZED
        assert _connack(gateways, "gateway", "gate") == SUCCESS
        _make_certificate(folder / "other")
        with pytest.raises(ssl.SSLCertVerificationError):
            _connack(secure, "VB-1", "one", folder / "other" / "server.pem")


def _issuer() -> Issuer:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Issuer(1, builder.sign(key, hashes.SHA256()), key)


def _make_certificate(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    (folder / "server.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server-key.pem").write_bytes(pem)
