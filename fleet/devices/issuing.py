"""Making the credentials of devices: certificates of the fleet's authority, and secrets."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy.orm import Session

from fleet.common.vault import Vault
from fleet.devices import authority, credentials
from fleet.devices.authority import Issuer
from fleet.devices.credentials import IssuedSecret
from fleet.devices.identity_models import CredentialKind, CredentialState, DeviceCredential
from fleet.settings import Settings
from fleet.stations.models import Station


@dataclass(frozen=True, slots=True)
class Claimed:
    station: str
    credential: DeviceCredential
    #: For a secret.
    secret: IssuedSecret | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """What claims are answered with."""

    issuer: Issuer
    vault: Vault
    certificate_life: timedelta

    @classmethod
    def open(cls, session: Session, settings: Settings, now: datetime) -> "Desk":
        """With the keys of this fleet. Raises Unreadable."""
        return cls(
            authority.issuer(session, Vault.of(settings, authority.PURPOSE), now),
            Vault.of(settings, credentials.PURPOSE),
            timedelta(days=settings.certificate_days),
        )


def issue_certificate(
    session: Session,
    station: Station,
    key: ec.EllipticCurvePublicKey,
    *,
    state: CredentialState,
    desk: Desk,
    now: datetime,
) -> Claimed:
    """The station is locked, and has no credential in that state."""
    pem = desk.issuer.client(station.code, key, now, desk.certificate_life)
    certificate = x509.load_pem_x509_certificate(pem.encode())
    row = DeviceCredential(
        station_id=station.id,
        kind=CredentialKind.CERTIFICATE,
        state=state,
        username=station.code,
        key_id=certificate.fingerprint(SHA256()).hex()[:16],
        authority_id=desk.issuer.id,
        certificate_pem=pem,
        serial_number=f"{certificate.serial_number:x}",
        issued_at=now,
        expires_at=certificate.not_valid_after_utc,
    )
    return Claimed(station.code, credentials.add_credential(session, row))


def issue_secret(session: Session, station: Station, *, state: CredentialState, desk: Desk, now: datetime) -> Claimed:
    """As `issue_certificate`, for a device that signs its frames."""
    made = credentials.new_secret(station.code, signs=True)
    row = credentials.add_secret(session, desk.vault, made, station_id=station.id, state=state, now=now)
    return Claimed(station.code, row, made)
