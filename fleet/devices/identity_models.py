"""What devices prove themselves with: the fleet's authority, credentials, claim tokens, windows of signatures."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    String,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum


class CredentialKind(StrEnum):
    #: Mutual TLS with a certificate of the fleet's authority.
    CERTIFICATE = "certificate"
    #: User name and a 256-bit secret.
    SECRET = "secret"  # noqa: S105  # its name, not its value


class CredentialState(StrEnum):
    #: What the device proves itself with.
    CURRENT = "current"
    #: Handed out beside the current one, and not yet seen in use: becomes current when it is.
    NEXT = "next"
    REVOKED = "revoked"


class ClaimPurpose(StrEnum):
    #: The first credential of a station.
    PROVISION = "provision"
    #: An operator lets new hardware take a station's place: what was there is revoked.
    REPLACE = "replace"
    #: Beside the current credential, until the new one is in use.
    ROTATE = "rotate"


class DeviceAuthority(Base):
    """One key of the fleet's certificate authority: the root, and what it signed to issue devices' certificates."""

    __tablename__ = "device_authority"
    __table_args__ = (
        Index("uq_device_authority_active", "is_root", unique=True, postgresql_where=text("retired_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    is_root: Mapped[bool]
    certificate_pem: Mapped[str] = mapped_column(Text)
    #: PKCS#8, sealed under the settings' key.
    sealed_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    #: Issues nothing new; what it issued stays valid.
    retired_at: Mapped[datetime | None]


class DeviceCredential(Base):
    """What a device proves itself to the broker with. At most one current and one next per station."""

    __tablename__ = "device_credential"
    __table_args__ = (
        Index("uq_device_credential_current", "station_id", unique=True, postgresql_where=text("state = 'current'")),
        Index("uq_device_credential_next", "station_id", unique=True, postgresql_where=text("state = 'next'")),
        Index("uq_device_credential_username", "username", unique=True, postgresql_where=text("state = 'current'")),
        Index("ix_device_credential_uncut", "id", postgresql_where=text("state = 'revoked' AND cut_at IS NULL")),
        Index(None, "station_id", "id"),
        Index(None, "expires_at"),
        CheckConstraint("(kind = 'certificate') = (certificate_pem IS NOT NULL)", name="certificate"),
        CheckConstraint("(kind = 'certificate') = (serial_number IS NOT NULL)", name="serial_number"),
        CheckConstraint("(kind = 'secret') = (password_hash IS NOT NULL)", name="password_hash"),
        CheckConstraint("(state = 'revoked') = (revoked_at IS NOT NULL)", name="revoked_at"),
        CheckConstraint("NOT signs OR sealed_secret IS NOT NULL", name="signs"),
        CheckConstraint("NOT (entered AND signs)", name="entered"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"))
    kind: Mapped[CredentialKind] = mapped_column(text_enum(CredentialKind, 16))
    state: Mapped[CredentialState] = mapped_column(text_enum(CredentialState, 16))
    #: What the broker binds topics to: the station's code, or what a vendor's cabinet calls itself.
    username: Mapped[str] = mapped_column(String(64))
    #: Names the credential to its device: the first 16 hex digits of a certificate's SHA-256, or random ones.
    key_id: Mapped[str] = mapped_column(String(16), unique=True)
    authority_id: Mapped[int | None] = mapped_column(ForeignKey("device_authority.id"))
    certificate_pem: Mapped[str | None] = mapped_column(Text)
    #: Of the certificate, in hexadecimal, as revocation lists name it.
    serial_number: Mapped[str | None] = mapped_column(String(40), unique=True)
    #: The password as the broker's password file wants it.
    password_hash: Mapped[str | None] = mapped_column(String(255))
    #: The secret itself, sealed under the settings' key: to check signatures, and to tell it once more.
    sealed_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Every envelope must carry a signature made with the secret.
    signs: Mapped[bool] = mapped_column(default=False, server_default="false")
    #: The secret is the password's text, as an operator entered it.
    entered: Mapped[bool] = mapped_column(default=False, server_default="false")
    issued_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    #: First seen in use.
    confirmed_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    revoked_reason: Mapped[str | None] = mapped_column(String(200))
    #: The broker knows of the revocation, and no session of it is left.
    cut_at: Mapped[datetime | None]


class ClaimToken(Base):
    """A secret that is good for one credential. Only its hash is kept; it is shown once, when it is made."""

    __tablename__ = "claim_token"
    __table_args__ = (
        CheckConstraint("station_id IS NOT NULL OR hardware_serial IS NOT NULL", name="bound"),
        CheckConstraint("(used_at IS NULL) = (credential_id IS NULL)", name="used_at"),
        CheckConstraint("(used_at IS NULL) = (request_hash IS NULL)", name="request_hash"),
        Index(None, "station_id"),
        Index(None, "hardware_serial"),
        Index(None, "batch_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    batch_id: Mapped[UUID]
    purpose: Mapped[ClaimPurpose] = mapped_column(text_enum(ClaimPurpose, 16))
    kind: Mapped[CredentialKind] = mapped_column(text_enum(CredentialKind, 16))
    #: NULL: made for a piece of hardware that has no station yet.
    station_id: Mapped[int | None] = mapped_column(ForeignKey("station.id"))
    #: The claim must come with it.
    hardware_serial: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    expires_at: Mapped[datetime]
    cancelled_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    #: SHA-256 of what the claim came with (public key, or nonce): the same gets the same answer, another gets none.
    request_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    credential_id: Mapped[int | None] = mapped_column(ForeignKey("device_credential.id"), unique=True)


class SignatureWindow(Base):
    """Which signatures of a signing cabinet have been accepted; locked while a batch of its frames is taken."""

    __tablename__ = "signature_window"

    station_id: Mapped[int] = mapped_column(ForeignKey("station.id"), primary_key=True)
    #: The topic's kind: one pipeline takes the frames of one kind.
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    boot: Mapped[int] = mapped_column(BigInteger)
    #: Highest counter accepted of that boot.
    seq: Mapped[int] = mapped_column(BigInteger)
    #: Bit n stands for seq - n.
    seen: Mapped[bytes] = mapped_column(LargeBinary)
