"""`python -m benchmarks.certificates`: 10,000 cabinets with certificates, verified by the broker; its lists read again.

Signing requests are proven and certificates issued as a claim does it, by one core. Then each certificate opens a
session at the product's broker, which checks the chain and the revocation list: the broker's CPU time counts, because
the other end of the handshake is ours too. The yardstick is `cryptography` checking the two signatures of the same
chain and nothing else. At last all certificates but one are revoked and as many passwords are made; what is measured is
how long the sync takes to write the lists, and the broker until it refuses who was let in before.
"""

import argparse
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import psutil
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks import seeding, wire
from benchmarks.results import Report, save, show
from benchmarks.services import Services, services
from benchmarks.stream import code
from cli.embedded.home import Home
from cli.embedded.identity import write_identity
from cli.embedded.mosquitto import EmbeddedMosquitto
from device_gateway.broker_sync import BrokerSync
from fleet.common.clock import utc_now
from fleet.common.vault import Vault
from fleet.devices import authority
from fleet.devices.authority import Issuer
from fleet.devices.passwords import broker_hash
from fleet.devices.signing_requests import public_key_of
from fleet.settings import Settings

_LIFE: Final = timedelta(days=730)
_PATIENCE_S: Final = 60.0
_PASSWORD: Final = "benchmark"
_CREDENTIALS: Final = text("""
INSERT INTO device_credential (station_id, kind, state, username, key_id, authority_id, certificate_pem, serial_number,
                               issued_at, expires_at)
SELECT s.id, 'certificate', 'current', s.code, lpad(to_hex(s.id), 16, '0'), :issuer, 'pem', v.serial, :now, :until
  FROM unnest(CAST(:codes AS text[]), CAST(:serials AS text[])) AS v(code, serial) JOIN station s ON s.code = v.code
""")
_REVOKED: Final = text("""
UPDATE device_credential SET state = 'revoked', revoked_at = :now, revoked_reason = 'benchmark', cut_at = :now
 WHERE username <> :spared
""")
_SECRETS: Final = text("""
INSERT INTO device_credential (station_id, kind, state, username, key_id, password_hash, issued_at)
SELECT station_id, 'secret', 'current', username, 'f' || substr(key_id, 2), :hash, :now
  FROM device_credential WHERE state = 'revoked'
""")


@dataclass(frozen=True, slots=True)
class Cabinet:
    code: str
    key: ec.EllipticCurvePrivateKey
    csr: str


@dataclass(frozen=True, slots=True)
class Broker:
    """The product's broker with its listeners that prove who a cabinet is, and what keeps its lists."""

    embedded: EmbeddedMosquitto
    sync: BrokerSync
    folder: Path

    def cpu_s(self) -> float:
        assert self.embedded.pid is not None
        times = psutil.Process(self.embedded.pid).cpu_times()
        return times.user + times.system

    def context(self, cabinet: Cabinet, pem: str) -> ssl.SSLContext:
        file = self.folder / "cabinet.pem"
        secret = cabinet.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(secret + pem.encode())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.folder / "roots.pem")
        context.load_cert_chain(file)
        return context

    def lets_in(self, context: ssl.SSLContext) -> bool:
        """One session by certificate, begun and ended."""
        port = int(str(self.embedded.tls_url).rpartition(":")[2])
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                secured.sendall(wire.connect("any"))
                return secured.recv(4) == wire.CONNACK
        except (ssl.SSLError, ConnectionError):
            return False

    def knows(self, user: str, password: str) -> bool:
        """One session by password, begun and ended."""
        port = int(str(self.embedded.secret_url).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            plain.sendall(wire.connect(user, user, password))
            return plain.recv(4) == wire.CONNACK


@contextmanager
def broker(running: Services) -> Iterator[tuple[Broker, Issuer]]:
    with TemporaryDirectory(prefix="voltbay-bench-", ignore_cleanup_errors=True) as name:
        home = Home(Path(name) / "home")
        embedded = EmbeddedMosquitto(home)
        embedded.data.mkdir(parents=True, mode=0o700)
        settings = Settings(
            database_url=SecretStr(running.postgres.url),
            broker_folder=embedded.identity,
            broker_pid_file=embedded.pid_file,
            home=home.root,
        )
        write_identity(settings, running.postgres.url, embedded.identity)
        embedded.start()
        try:
            settings = settings.model_copy(update={"mqtt_url": SecretStr(embedded.url)})
            with Session(running.engine) as session:
                issuer = authority.issuer(session, Vault.of(settings, authority.PURPOSE), utc_now())
                (Path(name) / "roots.pem").write_text(authority.roots(session))
            yield Broker(embedded, BrokerSync(settings, running.engine, clock=utc_now), Path(name)), issuer
        finally:
            embedded.stop()


def cabinet(index: int) -> Cabinet:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, code(index))])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, SHA256())
    return Cabinet(code(index), key, request.public_bytes(Encoding.PEM).decode())


def bare(certificates: Sequence[x509.Certificate], issuer: Issuer, root: x509.Certificate) -> float:
    """Seconds of CPU for the two signatures of each chain."""
    issuing, top = issuer.certificate, root.public_key()
    key = issuing.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(top, ec.EllipticCurvePublicKey)
    began = time.process_time()
    for each in certificates:
        key.verify(each.signature, each.tbs_certificate_bytes, ec.ECDSA(SHA256()))
        top.verify(issuing.signature, issuing.tbs_certificate_bytes, ec.ECDSA(SHA256()))
    return time.process_time() - began


def handshakes(tried: Broker, cabinets: Sequence[Cabinet], certificates: Sequence[str]) -> tuple[float, float]:
    """Seconds of the broker's CPU, and on the clock, until each was let in once."""
    used, began = tried.cpu_s(), time.perf_counter()
    for each, pem in zip(cabinets, certificates, strict=True):
        if not tried.lets_in(tried.context(each, pem)):
            raise RuntimeError(f"{each.code} is not let in")
    return tried.cpu_s() - used, time.perf_counter() - began


def until(fact: Callable[[], bool]) -> float:
    """Seconds until it is so."""
    began = time.perf_counter()
    while not fact():
        if time.perf_counter() - began > _PATIENCE_S:
            raise RuntimeError(f"not within {_PATIENCE_S:.0f} s")
    return time.perf_counter() - began


def enter(running: Services, issuer: Issuer, cabinets: Sequence[Cabinet], pems: Sequence[str]) -> None:
    """The certificates among the credentials, as claims enter them."""
    serials = [f"{x509.load_pem_x509_certificate(pem.encode()).serial_number:x}" for pem in pems]
    values = {"codes": [each.code for each in cabinets], "serials": serials, "issuer": issuer.id}
    with running.engine.begin() as connection:
        connection.execute(_CREDENTIALS, {**values, "now": utc_now(), "until": utc_now() + _LIFE})


def lists(report: Report, running: Services, tried: Broker, cabinets: Sequence[Cabinet], pems: Sequence[str]) -> None:
    """Revoke all but the last, give the others passwords, and have the broker told."""
    spared = cabinets[-1]
    gone, stays = tried.context(cabinets[0], pems[0]), tried.context(spared, pems[-1])
    with running.engine.begin() as connection:
        connection.execute(_REVOKED, {"now": utc_now(), "spared": spared.code})
        connection.execute(_SECRETS, {"now": utc_now(), "hash": broker_hash(_PASSWORD)})
    began = time.perf_counter()
    tried.sync.write()
    wrote = time.perf_counter() - began
    tried.sync.round()
    took = until(lambda: not tried.lets_in(gone))
    if not tried.lets_in(stays) or not tried.knows(cabinets[0].code, _PASSWORD):
        raise RuntimeError("the broker refuses who is good")
    note = f"{len(cabinets) - 1:,} revoked certificates and as many passwords, from the database"
    report.add("lists written by the sync", wrote, "s", note=note)
    report.add("lists read again by the broker", took, "s", note="from the signal to the first refusal")
    used = tried.cpu_s()
    again = min(200, len(cabinets))
    if not all(tried.lets_in(stays) for _ in range(again)):
        raise RuntimeError("the broker refuses who is good")
    cost = (tried.cpu_s() - used) / again * 1e6
    report.add("broker, CPU a session, with that list", cost, "µs", note=f"{again} sessions")


def run(*, quick: bool) -> Report:
    count = 20 if quick else 10_000
    report = Report("certificates", f"{count:,} certificates issued, verified by the broker, revoked", quick)
    with services() as running, broker(running) as (tried, issuer):
        seeding.ingest_fleet(running.engine, count, utc_now(), 1)
        cabinets = [cabinet(index) for index in range(1, count + 1)]
        began, now = time.process_time(), utc_now()
        keys = [public_key_of(each.csr, each.code) for each in cabinets]
        proven = time.process_time() - began
        pems = [issuer.client(each.code, key, now, _LIFE) for each, key in zip(cabinets, keys, strict=True)]
        issued = time.process_time() - began - proven
        root = x509.load_pem_x509_certificate((tried.folder / "roots.pem").read_bytes())
        loaded = [x509.load_pem_x509_certificate(pem.encode()) for pem in pems]
        plain = median(bare(loaded, issuer, root) for _ in range(1 if quick else 3))
        enter(running, issuer, cabinets, pems)
        cpu, took = handshakes(tried, cabinets, pems)
        report.add("signing requests proven", count / proven, "/s and core")
        report.add("certificates issued", count / issued, "/s and core")
        report.add("bare cryptography, chains verified", count / plain, "/s and core", note="two signatures each")
        report.add("broker, certificates verified", count / max(cpu, 1e-3), "/s and core", note="whole TLS sessions")
        report.add("the same, on the clock", count / took, "/s", note="one cabinet after the other, both ends here")
        report.add("bare verification, share of the broker's CPU", plain / max(cpu, 1e-3), "")
        lists(report, running, tried, cabinets, pems)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.certificates", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few certificates, to see that it runs")
    report = run(quick=parser.parse_args().quick)
    show([report])
    save(report)
    return 0 if report.met or report.quick else 1


if __name__ == "__main__":
    sys.exit(main())
