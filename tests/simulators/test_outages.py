"""The broker dies and comes back; and the same over TLS."""

import datetime as dt
import ipaddress
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from firmware_protocol.messages import Booted, Inventory, PowerBankEjected
from simulators.broker import CA_FILE_VARIABLE, Broker
from simulators.spec import default_fleet
from simulators.testing import FleetThread
from simulators.tuning import Tuning
from tests.simulators.backend import MiniBackend

CODE = "VB-0001"
HASTY = Tuning(backoff_base_s=0.2, backoff_cap_s=1, welcome_timeout_s=0.5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def mosquitto(folder: Path, config: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Killed, not asked, at the end."""
    file = folder / "mosquitto.conf"
    file.write_text(config)
    with subprocess.Popen(["mosquitto", "-c", str(file)], stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield process
        finally:
            process.kill()


def test_a_killed_broker_loses_no_event(tmp_path: Path) -> None:
    port = free_port()
    config = f"listener {port} 127.0.0.1\nallow_anonymous true\n"
    url = f"mqtt://127.0.0.1:{port}"
    with FleetThread(default_fleet(20), url, tuning=HASTY) as fleet:
        with mosquitto(tmp_path, config, port), MiniBackend(url):
            fleet.wait_welcomed()
        slot = fleet.spec.stations[0].banks[0].slot
        fleet.remove(CODE, slot)
        with mosquitto(tmp_path, config, port), MiniBackend(url) as backend:
            fleet.wait_welcomed()
            backend.wait_for(lambda: bool(backend.of(CODE, PowerBankEjected)))
            (left,) = backend.of(CODE, PowerBankEjected)
            assert left.replayed
            assert {frame.boot for frame in backend.of(CODE, Booted)} == {1}


def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, plain = free_port(), free_port()
    certificate, key = self_signed(tmp_path)
    config = (
        f"per_listener_settings true\nlistener {port} 127.0.0.1\nallow_anonymous true\n"
        f"user root\ncertfile {certificate}\nkeyfile {key}\nlistener {plain} 127.0.0.1\nallow_anonymous true\n"
    )
    monkeypatch.setenv(CA_FILE_VARIABLE, str(certificate))
    with (
        mosquitto(tmp_path, config, port),
        MiniBackend(f"mqtt://127.0.0.1:{plain}") as backend,
        FleetThread(default_fleet(5), f"mqtts://127.0.0.1:{port}", tuning=HASTY) as fleet,
    ):
        fleet.wait_welcomed()
        backend.wait_for(lambda: len([f for f in backend.frames if isinstance(f.message, Inventory)]) == 5)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "server.pem", folder / "server.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM
    no_password = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password))
    return files


@pytest.mark.parametrize(
    ("url", "host", "port", "password"),
    [
        ("mqtt://broker.example", "broker.example", 1883, None),
        ("mqtt://any:s%2Fecret@10.0.0.1:1999", "10.0.0.1", 1999, "s/ecret"),
    ],
)
def test_a_broker_by_its_address(url: str, host: str, port: int, password: str | None) -> None:
    broker = Broker.from_url(url)
    assert (broker.host, broker.port, broker.password, broker.tls) == (host, port, password, None)


def test_tls_is_checked_by_default() -> None:
    broker = Broker.from_url("mqtts://broker.example")
    assert broker.tls is not None
    assert (broker.port, broker.tls.verify_mode) == (8883, ssl.CERT_REQUIRED)


def test_another_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="expected mqtt://"):
        Broker.from_url("http://broker.example")
