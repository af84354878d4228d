"""The fleet's certificate authority: a root, and the issuing key that signs one certificate per station.

Both keys (EC P-256) lie in the database, sealed under the settings' key; every process that knows it can issue.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from fleet.common.vault import Vault
from fleet.devices.identity_models import DeviceAuthority

#: Purpose of the Vault that seals the authority's keys: `Vault.of(settings, PURPOSE)`.
PURPOSE: Final = "device authority"
_ROOT_LIFE: Final = timedelta(days=30 * 365)
_ISSUING_LIFE: Final = timedelta(days=20 * 365)
#: A server's certificate is made anew at every start of the embedded broker, and by operators.
_SERVER_LIFE: Final = timedelta(days=825)
#: Clocks of brokers and cabinets differ.
_BACKDATED: Final = timedelta(days=1)
#: Held while the authority is made; any constant will do.
_LOCK: Final = 0x766F6C74636121

_CA_USAGE: Final = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
)  # fmt: skip
_LEAF_USAGE: Final = x509.KeyUsage(
    digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
    key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Issuer:
    """A certificate and the key that signs in its name."""

    id: int
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def _since(self) -> datetime:
        """Valid as long as the issuer has been: a clock that is wrong while a certificate is made locks nobody out."""
        return self.certificate.not_valid_before_utc

    @property
    def pem(self) -> str:
        return _pem(self.certificate)

    def client(self, code: str, public_key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta) -> str:
        """PEM of a certificate for the station `code` (its common name), valid for `life` from now."""
        until = min(now + life, self.certificate.not_valid_after_utc)
        builder = _builder(_name(code), self.certificate.subject, public_key, self._since, until)
        builder = _leaf(builder, self, ExtendedKeyUsageOID.CLIENT_AUTH)
        return _pem(builder.sign(self.key, SHA256()))

    def server(self, hosts: Sequence[str], now: datetime) -> tuple[str, str]:
        """PEM of certificate and chain, and of a new key, for a broker that is reached as `hosts`."""
        key = ec.generate_private_key(ec.SECP256R1())
        until = min(now + _SERVER_LIFE, self.certificate.not_valid_after_utc)
        builder = _builder(_name(hosts[0]), self.certificate.subject, key.public_key(), self._since, until)
        builder = _leaf(builder, self, ExtendedKeyUsageOID.SERVER_AUTH)
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
        return _pem(builder.sign(self.key, SHA256())) + _pem(self.certificate), _key_pem(key)

    def revocations(self, revoked: Iterable[tuple[str, datetime]], number: int) -> str:
        """PEM of the revocation list `number` (from 1, rising): serial numbers in hexadecimal, and since when.

        A broker keeps the list with the latest time, and refuses everybody when that is to come, or when the list ran
        out. So the time is counted rather than measured, one second a list from the authority's first day on, and the
        end is the authority's own: no clock that is wrong for a while, and no sync that is away, locks the fleet out.
        """
        at = self._since + timedelta(seconds=number)
        builder = x509.CertificateRevocationListBuilder(
            self.certificate.subject, at, self.certificate.not_valid_after_utc
        )
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        builder = builder.add_extension(_issued_by(self), critical=False)
        for serial, since in revoked:
            entry = x509.RevokedCertificateBuilder(int(serial, 16), since)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM).decode()


def issuer(session: Session, vault: Vault, now: datetime) -> Issuer:
    """What certificates are signed with; the authority is made when there is none. Raises Unreadable."""
    row = _active(session, is_root=False)
    if row is None:
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        row = _active(session, is_root=False) or _make(session, vault, now)
    return _opened(vault, row)


def every_issuer(session: Session, vault: Vault) -> list[Issuer]:
    """Also those that issue nothing new: their certificates are still about."""
    query = select(DeviceAuthority).where(~DeviceAuthority.is_root).order_by(DeviceAuthority.id)
    return [_opened(vault, row) for row in session.scalars(query)]


def chain(session: Session) -> str:
    """PEM of every certificate of the authority, roots last: what a broker checks cabinets against."""
    query = select(DeviceAuthority.certificate_pem).order_by(DeviceAuthority.is_root, DeviceAuthority.id)
    return "".join(session.scalars(query))


def roots(session: Session) -> str:
    """PEM of the roots: what cabinets check a broker against whose certificate is the fleet's own."""
    query = select(DeviceAuthority.certificate_pem).where(DeviceAuthority.is_root).order_by(DeviceAuthority.id)
    return "".join(session.scalars(query))


def _active(session: Session, *, is_root: bool) -> DeviceAuthority | None:
    query = select(DeviceAuthority).where(DeviceAuthority.is_root.is_(is_root), DeviceAuthority.retired_at.is_(None))
    return session.scalars(query).one_or_none()


def _make(session: Session, vault: Vault, now: datetime) -> DeviceAuthority:
    # A name of its own: two fleets' authorities must not be taken for each other.
    name = secrets.token_hex(4)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = _name(f"Voltbay fleet {name} root")
    root = _authority(root_name, root_name, root_key, now + _ROOT_LIFE, now, depth=1).sign(root_key, SHA256())
    issuing = _authority(_name(f"Voltbay fleet {name} stations"), root_name, key, now + _ISSUING_LIFE, now, depth=0)
    signed = issuing.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False
    ).sign(root_key, SHA256())
    rows = [_row(vault, root, root_key, now, is_root=True), _row(vault, signed, key, now, is_root=False)]
    session.add_all(rows)
    session.flush()  # certificates refer to the issuer's id
    return rows[1]


def _authority(
    subject: x509.Name, issuer_name: x509.Name, key: ec.EllipticCurvePrivateKey, until: datetime, now: datetime,
    *, depth: int,
) -> x509.CertificateBuilder:  # fmt: skip
    builder = _builder(subject, issuer_name, key.public_key(), now - _BACKDATED, until)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True).add_extension(
        _CA_USAGE, critical=True
    )


def _builder(
    subject: x509.Name, issuer_name: x509.Name, public_key: ec.EllipticCurvePublicKey, since: datetime, until: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name, subject, public_key, x509.random_serial_number(), since, until
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)


def _leaf(builder: x509.CertificateBuilder, by: Issuer, usage: x509.ObjectIdentifier) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_LEAF_USAGE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(_issued_by(by), critical=False)
    )


def _row(
    vault: Vault, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, now: datetime, *, is_root: bool
) -> DeviceAuthority:
    secret = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return DeviceAuthority(
        is_root=is_root,
        certificate_pem=_pem(certificate),
        sealed_key=vault.seal(secret, _context(certificate)),
        created_at=now,
    )


def _opened(vault: Vault, row: DeviceAuthority) -> Issuer:
    certificate = x509.load_pem_x509_certificate(row.certificate_pem.encode())
    key = load_der_private_key(vault.open(row.sealed_key, _context(certificate)), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Issuer(row.id, certificate, key)


def _context(certificate: x509.Certificate) -> str:
    return f"authority {certificate.serial_number:x}"


def _issued_by(by: Issuer) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
