"""What the broker reads of devices' credentials: the authority, who is revoked, and hashes of passwords.

Certificates need no word to the broker: it hears of those that are revoked, and of every secret. One process writes the
folder (`device_gateway.broker_sync`), also before the broker's first start; the broker reads it again at SIGHUP.
"""

import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from fleet.devices.authority import Issuer, chain
from fleet.devices.identity_models import CredentialKind, CredentialState, DeviceCredential
from fleet.devices.passwords import password_lines

AUTHORITY: Final = "authority.pem"
REVOKED: Final = "revoked.pem"
PASSWORDS: Final = "devices.passwords"
SERVER: Final = "server.pem"
SERVER_KEY: Final = "server-key.pem"
#: A server's certificate with less than this left is replaced.
_RENEWED_BEFORE: Final = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Uncut:
    """A revoked credential of which the broker may still hold a session."""

    id: int
    username: str
    #: Its successor is in force: the device may be there by right.
    succeeded: bool


@dataclass(frozen=True, slots=True)
class BrokerState:
    """All of it at one moment."""

    authority: str
    #: By issuer: serial number in hexadecimal, since when. Without those that ran out by themselves.
    revoked: Mapping[int, Sequence[tuple[str, datetime]]]
    #: User name and hash.
    passwords: Sequence[tuple[str, str]]
    uncut: Sequence[Uncut]

    @property
    def digest(self) -> str:
        """Equal when the broker would be told the same."""
        told = hashlib.sha256(self.authority.encode())
        for issuer in sorted(self.revoked):
            told.update(f"\n{issuer} {' '.join(serial for serial, _ in self.revoked[issuer])}".encode())
        told.update(f"\n{password_lines(self.passwords)}".encode())
        return told.hexdigest()


def broker_state(session: Session, now: datetime, static: Mapping[str, str] | None = None) -> BrokerState:
    """As the session's snapshot has it; `static`: users by name, with their hashes.

    Who has used a credential of its own, or had one revoked, has no fixed password any more: the revocation would not
    lock it out.
    """
    revoked: dict[int, list[tuple[str, datetime]]] = {}
    query = select(DeviceCredential.authority_id, DeviceCredential.serial_number, DeviceCredential.revoked_at).where(
        DeviceCredential.kind == CredentialKind.CERTIFICATE,
        DeviceCredential.state == CredentialState.REVOKED,
        DeviceCredential.expires_at > now,
    )
    for issuer, serial, at in session.execute(query.order_by(DeviceCredential.id)):
        assert issuer is not None
        assert serial is not None
        assert at is not None
        revoked.setdefault(issuer, []).append((serial, at))
    own = _own_ways(session) if static else set()
    users = {name: digest for name, digest in (static or {}).items() if name not in own}
    users.update(_passwords(session))
    return BrokerState(chain(session), revoked, sorted(users.items()), _uncut(session))


def _own_ways(session: Session) -> set[str]:
    """Names that have proven themselves otherwise than by a fixed password, or may not any more."""
    used = or_(DeviceCredential.confirmed_at.is_not(None), DeviceCredential.state == CredentialState.REVOKED)
    return set(session.scalars(select(DeviceCredential.username).where(used).distinct()))


def _passwords(session: Session) -> dict[str, str]:
    query = select(DeviceCredential.username, DeviceCredential.password_hash).where(
        DeviceCredential.kind == CredentialKind.SECRET, DeviceCredential.state == CredentialState.CURRENT
    )
    return {row[0]: row[1] or "" for row in session.execute(query)}


def _uncut(session: Session) -> list[Uncut]:
    successor = aliased(DeviceCredential)
    in_force = select(successor.id).where(
        successor.username == DeviceCredential.username, successor.state == CredentialState.CURRENT
    )
    query = select(DeviceCredential.id, DeviceCredential.username, in_force.exists()).where(
        DeviceCredential.state == CredentialState.REVOKED, DeviceCredential.cut_at.is_(None)
    )
    return [Uncut(*row) for row in session.execute(query.order_by(DeviceCredential.id))]


class BrokerFolder:
    """The files. Each is replaced whole, private, and owned as the folder is, so that the broker's user may read it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, state: BrokerState, issuers: Sequence[Issuer]) -> bool:
        """Bring the files in line; whether anything changed. The list of revocations follows the one that is there."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._read("written") == state.digest:
            return False
        before = self._revocations()
        lists = [
            each.revocations(state.revoked.get(each.id, ()), before.get(each.certificate.subject, 0) + 1)
            for each in issuers
        ]
        self._write(AUTHORITY, state.authority)
        self._write(REVOKED, "".join(lists))
        self._write(PASSWORDS, password_lines(state.passwords))
        # Last: a crash before it writes the same once more.
        self._write("written", state.digest)
        return True

    def told(self) -> bool:
        """Whether the broker was made to read what is written."""
        return self._read("told") == self._read("written") != ""

    def note_told(self) -> None:
        self._write("told", self._read("written"))

    def ensure_server(self, issuer: Issuer, hosts: Sequence[str], now: datetime) -> bool:
        """A certificate of the fleet's own for the broker, unless a good one is there; whether it was made now."""
        if self._good_server(hosts, now):
            return False
        certificate, key = issuer.server(hosts, now)
        self._write(SERVER_KEY, key)
        self._write(SERVER, certificate)
        self._write("hosts", "\n".join(hosts))
        self._write("told", "")
        return True

    def use_server(self, certificate: str, key: str) -> None:
        """A certificate from elsewhere."""
        if self._read(SERVER) != certificate:
            self._write(SERVER_KEY, key)
            self._write(SERVER, certificate)
            self._write("told", "")

    def _good_server(self, hosts: Sequence[str], now: datetime) -> bool:
        if self._read("hosts") != "\n".join(hosts) or not self._read(SERVER_KEY):
            return False
        certificate = x509.load_pem_x509_certificates(self._read(SERVER).encode())[0]
        return now < certificate.not_valid_after_utc - _RENEWED_BEFORE

    def _revocations(self) -> dict[x509.Name, int]:
        """Numbers of the lists that are there, by issuer."""
        found: dict[x509.Name, int] = {}
        end = "-----END X509 CRL-----\n"
        for pem in self._read(REVOKED).split(end)[:-1]:
            crl = x509.load_pem_x509_crl(f"{pem}{end}".encode())
            found[crl.issuer] = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        return found

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text()
        except FileNotFoundError:
            return ""

    def _write(self, name: str, text: str) -> None:
        owner = self.path.stat()
        fresh = self.path / f".{name}.{secrets.token_hex(4)}"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if os.geteuid() == 0:
            os.chown(fresh, owner.st_uid, owner.st_gid)
        fresh.replace(self.path / name)


def read_password_file(path: Path | None) -> dict[str, str]:
    """Users with their hashes; empty when there is no such file."""
    if path is None or not path.exists():
        return {}
    pairs = (line.partition(":") for line in path.read_text().splitlines() if ":" in line)
    return {user: digest for user, _, digest in pairs}
