from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.db import Base, text_enum, uuid_pk


class UserStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class Role(StrEnum):
    RIDER = "rider"
    OPERATOR = "operator"


class User(Base):
    __tablename__ = "app_user"
    __table_args__ = (
        CheckConstraint("phone IS NOT NULL OR email IS NOT NULL OR guest OR status = 'deleted'", name="reachable"),
        CheckConstraint("NOT guest OR (phone IS NULL AND email IS NULL AND role = 'rider')", name="guest"),
        Index("ix_app_user_guest", "created_at", postgresql_where=text("guest")),
        CheckConstraint("email = lower(email)", name="email_lower"),
    )

    id: Mapped[UUID] = uuid_pk()
    #: E.164.
    phone: Mapped[str | None] = mapped_column(String(16), unique=True)
    email: Mapped[str | None] = mapped_column(String(254), unique=True)
    #: Has proven no address: rents by card, and nothing else (decision 0315).
    guest: Mapped[bool] = mapped_column(default=False, server_default="false")
    name: Mapped[str | None] = mapped_column(String(100))
    role: Mapped[Role] = mapped_column(text_enum(Role, 16), default=Role.RIDER, server_default=Role.RIDER)
    status: Mapped[UserStatus] = mapped_column(text_enum(UserStatus, 16), default=UserStatus.ACTIVE)
    locale: Mapped[str] = mapped_column(String(16), default="en", server_default="en")
    time_zone: Mapped[str] = mapped_column(String(64), default="UTC", server_default="UTC")
    country: Mapped[str | None] = mapped_column(ForeignKey("country.iso_code"))
    #: Access tokens issued before this instant are void (sign-out everywhere, suspension).
    tokens_valid_from: Mapped[datetime]
    created_at: Mapped[datetime]


class OtpChallenge(Base):
    """One code sent to one address. The code itself is nowhere: it is derived from the id with a secret key."""

    __tablename__ = "otp_challenge"
    __table_args__ = (
        Index(None, "destination", "created_at"),
        Index(None, "address", "created_at"),
        Index(None, "created_at"),
        CheckConstraint("attempts_left >= 0", name="attempts_left"),
    )

    id: Mapped[UUID] = uuid_pk()
    #: E.164, or an e-mail address in lower case.
    destination: Mapped[str] = mapped_column(String(254))
    #: Network address that asked for it.
    address: Mapped[str | None] = mapped_column(String(64))
    attempts_left: Mapped[int]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]


class UserSession(Base):
    """One sign-in on one device: the family of its refresh tokens. Revoked, it ends with everything issued from it."""

    __tablename__ = "user_session"

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"), index=True)
    user_agent: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    #: "sign_out", "reuse", "suspended" ...
    revoked_why: Mapped[str | None] = mapped_column(String(32))


class RefreshToken(Base):
    """One link of a session's chain: used once, then rotated; a second use revokes the session."""

    __tablename__ = "refresh_token"

    id: Mapped[UUID] = uuid_pk()
    session_id: Mapped[UUID] = mapped_column(ForeignKey("user_session.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    rotated_at: Mapped[datetime | None]


class UserAuditLog(Base):
    """Append-only: who did what to whom. Operators' acts on riders, wallets and cabinets are here too."""

    __tablename__ = "user_audit_log"
    __table_args__ = (Index(None, "user_id", "at"), Index(None, "actor_id", "at"), Index(None, "target", "at"))

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str | None] = mapped_column(String(100))
    detail: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"), default=dict)
    request_id: Mapped[str | None] = mapped_column(String(64))
    address: Mapped[str | None] = mapped_column(String(64))
    at: Mapped[datetime]


class SandboxMessage(Base):
    """What the sandbox sender would have sent by SMS or e-mail; shown on the inbox page, development only."""

    __tablename__ = "sandbox_message"

    id: Mapped[UUID] = uuid_pk()
    destination: Mapped[str] = mapped_column(String(254), index=True)
    body: Mapped[str] = mapped_column(String(1000))
    sent_at: Mapped[datetime] = mapped_column(index=True)
