"""Access tokens (15 min, signed) and refresh tokens (30 days, rotated; reuse revokes the session)."""

import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Self
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.utils import base64url_decode
from sqlalchemy import Uuid, bindparam, delete, select, update
from sqlalchemy.orm import Session

from fleet.common.errors import FleetError
from fleet.common.plans import PLANNED
from fleet.settings import Settings
from fleet.users import audit
from fleet.users.errors import TokenRefused, UserSuspended
from fleet.users.keys import key_file, kid_of, previous_key_file, read_key
from fleet.users.models import RefreshToken, Role, User, UserSession, UserStatus

ALGORITHM = "EdDSA"
ISSUER = "voltbay"
#: Clocks of several API machines may differ by this much.
LEEWAY = timedelta(seconds=5)
#: How long an ended session can still be looked at by who asks what happened.
ENDED_KEPT = timedelta(days=30)
#: What reading somebody's idea of a token may fail with.
_UNREADABLE: Final = (
    jwt.InvalidTokenError, KeyError, AttributeError, ValueError, TypeError, OverflowError, RecursionError,
)  # fmt: skip
#: Tokens whose signature was found good, some 1 kB each.
_REMEMBERED: Final = 4096
_CLAIMS = ("sub", "sid", "role", "iat", "exp", "iss")


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a valid token says. `role` is what it was then: ask the account for what it is now."""

    user_id: UUID
    role: Role
    session_id: UUID
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class Tokens:
    access_token: str
    refresh_token: str
    expires_in_s: int
    session_id: UUID


@dataclass(frozen=True, slots=True)
class SignedIn:
    user: User
    tokens: Tokens
    #: The account was made by this sign-in.
    created: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal that changed something (a try was counted, a session revoked): commit, then raise `error`."""

    error: FleetError


class TokenKeys:
    """Signs with the current key, accepts the previous one too; they are told apart by `kid`."""

    def __init__(self, current: Ed25519PrivateKey, previous: Ed25519PrivateKey | None, lifetime: timedelta) -> None:
        self._current = current
        self._kid = kid_of(current.public_key())
        self.lifetime = lifetime
        self._accepted: dict[str, Ed25519PublicKey] = {
            kid_of(key.public_key()): key.public_key() for key in (current, previous) if key is not None
        }
        #: An app sends its token with every request. Refused ones are not remembered.
        self._read = lru_cache(_REMEMBERED)(self._verified)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Keys from the settings, or kept under `home`/keys. Raises ValueError when one is no Ed25519 key."""
        lifetime = timedelta(seconds=settings.access_token_s)
        if settings.token_private_key is None:
            folder = settings.home / "keys"
            return cls(key_file(folder), previous_key_file(folder), lifetime)
        before = settings.token_previous_key
        return cls(
            read_key(settings.token_private_key.get_secret_value()),
            read_key(before.get_secret_value()) if before is not None else None,
            lifetime,
        )

    def issue_access(self, user: User, session_id: UUID, now: datetime) -> str:
        claims = {
            "iss": ISSUER,
            "sub": str(user.id),
            "sid": str(session_id),
            "role": user.role.value,
            "iat": now.timestamp(),
            "exp": (now + self.lifetime).timestamp(),
        }
        return jwt.encode(claims, self._current, algorithm=ALGORITHM, headers={"kid": self._kid})

    def verify_access(self, token: str, now: datetime) -> AccessClaims:
        """The claims of a token that we signed and that is still valid at `now`. Raises TokenRefused."""
        try:
            found, expires = self._read(token)
        except _UNREADABLE as error:
            raise TokenRefused("this access token is not valid") from error
        if not found.issued_at - LEEWAY <= now < expires:
            raise TokenRefused("this access token has expired")
        return found

    def _verified(self, token: str) -> tuple[AccessClaims, datetime]:
        """What a token that we signed says, and until when it says so: the same whenever it is asked."""
        header: dict[str, str] = json.loads(base64url_decode(token.partition(".")[0]))
        claims = jwt.decode(
            token,
            self._accepted[header.get("kid", "")],
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            # Times are compared by the caller, with its clock.
            options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False},
        )
        issued, expires = (datetime.fromtimestamp(claims[name], UTC) for name in ("iat", "exp"))
        return AccessClaims(UUID(claims["sub"]), Role(claims["role"]), UUID(claims["sid"]), issued), expires


def issue(
    session: Session, user: User, now: datetime, settings: Settings, *, keys: TokenKeys, user_agent: str | None = None
) -> Tokens:
    """Open a session for `user` with its first pair of tokens."""
    opened = UserSession(
        user_id=user.id,
        user_agent=user_agent[:200] if user_agent else None,
        created_at=now,
        last_used_at=now,
        expires_at=now + timedelta(seconds=settings.refresh_token_s),
    )
    session.add(opened)
    session.flush()  # its tokens refer to it
    return _pair(session, user, opened, now, settings=settings, keys=keys)


def _pair(
    session: Session, user: User, opened: UserSession, now: datetime, *, settings: Settings, keys: TokenKeys
) -> Tokens:
    token = secrets.token_urlsafe(32)
    opened.last_used_at = now
    opened.expires_at = now + timedelta(seconds=settings.refresh_token_s)
    session.add(
        RefreshToken(
            session_id=opened.id, token_hash=_hash(token, settings), created_at=now, expires_at=opened.expires_at
        )
    )
    session.flush()  # the next request may come before this object is looked at again
    access = keys.issue_access(user, opened.id, now)
    return Tokens(access, token, int(keys.lifetime.total_seconds()), opened.id)


def _hash(token: str, settings: Settings) -> bytes:
    return hmac.digest(settings.secret_bytes("refresh_token"), token.encode(), hashlib.sha256)


def refresh(
    session: Session, refresh_token: str, now: datetime, settings: Settings, keys: TokenKeys
) -> SignedIn | Refused:
    """A new pair for a refresh token, which is used up. A used one comes from a thief or to one: the session ends.

    `Refused` must be committed before its error is raised, or a thief's token lives on.
    """
    digest = _hash(refresh_token, settings)
    # The session first: whoever rotates or revokes waits here, so that no token is born in a session just revoked.
    opened = session.scalars(
        select(UserSession)
        .join(RefreshToken, RefreshToken.session_id == UserSession.id)
        .where(RefreshToken.token_hash == digest)
        .with_for_update(of=UserSession)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if opened is None:
        return Refused(TokenRefused("sign in again"))
    token = session.scalars(
        select(RefreshToken).where(RefreshToken.token_hash == digest).execution_options(populate_existing=True)
    ).one()
    if opened.revoked_at is not None or token.expires_at <= now:
        return Refused(TokenRefused("sign in again"))
    if token.rotated_at is not None:
        _end(opened, "reuse", now)
        audit.record(session, action="user.refresh_token_reused", user_id=opened.user_id, now=now)
        return Refused(TokenRefused("sign in again"))
    user = session.get_one(User, opened.user_id, populate_existing=True)
    if user.status is not UserStatus.ACTIVE:
        _end(opened, user.status.value, now)
        return Refused(UserSuspended("this account is suspended"))
    token.rotated_at = now
    return SignedIn(user, _pair(session, user, opened, now, settings=settings, keys=keys))


def _end(opened: UserSession, why: str, now: datetime) -> None:
    opened.revoked_at, opened.revoked_why = now, why


#: Built once: every request asks it.
_SIGNED_IN: Final = (
    select(User, UserSession.revoked_at)
    .join(UserSession, UserSession.user_id == User.id)
    .where(UserSession.id == bindparam("session_id", type_=Uuid()), User.id == bindparam("user_id", type_=Uuid()))
    .execution_options(**PLANNED)
)


def signed_in_user(session: Session, claims: AccessClaims, now: datetime) -> User:
    """The account behind a valid token, as it is now. Raises TokenRefused, UserSuspended; one statement."""
    row = session.execute(_SIGNED_IN, {"session_id": claims.session_id, "user_id": claims.user_id}).one_or_none()
    if row is None:
        raise TokenRefused("sign in again")
    user, revoked_at = row
    let_in(claims, now, status=user.status, valid_from=user.tokens_valid_from, revoked_at=revoked_at)
    found: User = user
    return found


def let_in(
    claims: AccessClaims, now: datetime, *, status: UserStatus, valid_from: datetime, revoked_at: datetime | None
) -> None:
    """The account and the session of a valid token, as they are now. Raises TokenRefused, UserSuspended."""
    if status is not UserStatus.ACTIVE:
        raise UserSuspended("this account is suspended")
    if (revoked_at is not None and revoked_at <= now) or claims.issued_at < valid_from:
        raise TokenRefused("sign in again")


def sessions_of(session: Session, user_id: UUID, now: datetime) -> list[UserSession]:
    """Where the user is signed in, last used first."""
    query = (
        select(UserSession)
        .where(UserSession.user_id == user_id, UserSession.revoked_at.is_(None), UserSession.expires_at > now)
        .order_by(UserSession.last_used_at.desc(), UserSession.id.desc())
    )
    return list(session.scalars(query))


def sign_out(session: Session, *, user_id: UUID, session_id: UUID, now: datetime) -> bool:
    """End one session of the user; False when it is not theirs or has ended before."""
    return _revoke(session, now, "sign_out", UserSession.user_id == user_id, UserSession.id == session_id) > 0


def sign_out_everywhere(session: Session, user: User, now: datetime, why: str = "sign_out") -> int:
    """End all sessions of the user and void every access token; returns how many sessions ended."""
    user.tokens_valid_from = now
    return _revoke(session, now, why, UserSession.user_id == user.id)


def _revoke(session: Session, now: datetime, why: str, *which: object) -> int:
    ended = session.scalars(
        update(UserSession)
        .where(UserSession.revoked_at.is_(None), *which)  # type: ignore[arg-type]  # SQL conditions
        .values(revoked_at=now, revoked_why=why)
        .returning(UserSession.id)
        .execution_options(synchronize_session="fetch")
    )
    return len(ended.all())


def forget_ended(session: Session, ended_before: datetime) -> int:
    """Delete sessions (and their tokens) that expired or were revoked before; returns how many."""
    old = delete(UserSession).where((UserSession.expires_at < ended_before) | (UserSession.revoked_at < ended_before))
    return len(session.scalars(old.returning(UserSession.id)).all())
