"""Accounts: found, made, changed, suspended."""

from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country
from fleet.common.outbox import publish
from fleet.users import audit
from fleet.users.destinations import Destination, parse
from fleet.users.errors import UserNotFound
from fleet.users.events import UserRegistered
from fleet.users.models import Role, User, UserStatus
from fleet.users.tokens import sign_out_everywhere

NAME_MAX = 100


def get_user(session: Session, user_id: UUID) -> User:
    """Raises UserNotFound."""
    user = session.get(User, user_id)
    if user is None:
        raise UserNotFound("no such user", user_id=user_id)
    return user


def find_users(session: Session, text: str, limit: int = 20) -> list[User]:
    """Users whose phone, e-mail address or name begins with or holds `text`, newest first."""
    escaped = text.strip().lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    query = (
        select(User)
        .where(User.phone.like(f"{escaped}%") | User.email.like(f"{escaped}%") | User.name.ilike(f"%{escaped}%"))
        .order_by(User.id.desc())
        .limit(limit)
    )
    return list(session.scalars(query))


def user_at(session: Session, destination: Destination, now: datetime) -> tuple[User, bool]:
    """Whoever is reached at a proven destination, and whether the account was just made; safe in parallel."""
    column = User.phone if destination.is_phone else User.email
    query = select(User).where(column == destination.value)
    user = session.scalars(query).one_or_none()
    if user is not None:
        return user, False
    home = session.get(Country, destination.region) if destination.region else None
    made = session.scalar(
        insert(User)
        .values(
            **{column.key: destination.value},
            role=Role.RIDER,
            status=UserStatus.ACTIVE,
            tokens_valid_from=now,
            created_at=now,
            **ways_of(home),
        )
        .on_conflict_do_nothing(index_elements=[column.key])
        .returning(User.id)
    )
    user = session.scalars(query).one()
    if made is not None:
        publish(session, UserRegistered(user.id), now)
    return user, made is not None


def ways_of(home: Country | None) -> dict[str, str | None]:
    """Country, language and time zone of somebody from there."""
    if home is None:
        return {"country": None, "locale": "en", "time_zone": "UTC"}
    return {"country": home.iso_code, "locale": home.locale, "time_zone": home.time_zone}


def create_operator(session: Session, destination: str, name: str, now: datetime) -> User:
    """The account at a phone or e-mail address with the operator's role, made if need be; again changes nothing.

    Signing in still takes a code sent there. Raises InvalidInput.
    """
    user, _ = user_at(session, parse(destination), now)
    if user.role is not Role.OPERATOR or user.name != name:
        user.role, user.name = Role.OPERATOR, _name(name)
        audit.record(session, action="user.made_operator", user_id=user.id, now=now)
    return user


def update_profile(
    session: Session, user: User, *, name: str | None = None, locale: str | None = None, time_zone: str | None = None
) -> User:
    """Change what is given. Raises InvalidInput with the field."""
    del session  # the user is attached; the caller's transaction writes it
    if name is not None:
        user.name = _name(name)
    if locale is not None:
        user.locale = read_locale(locale)
    if time_zone is not None:
        user.time_zone = _time_zone(time_zone)
    return user


def _name(name: str) -> str:
    name = " ".join(name.split())
    if not 0 < len(name) <= NAME_MAX or not name.isprintable():
        raise InvalidInput(f"a name has 1 to {NAME_MAX} visible characters", field="name")
    return name


def read_locale(locale: str) -> str:
    """Raises InvalidInput."""
    parts = locale.replace("_", "-").split("-")
    if len(locale) > 16 or not all(part.isascii() and part.isalnum() for part in parts) or not parts[0].isalpha():
        raise InvalidInput("a locale looks like en or pt-BR (BCP 47)", field="locale")
    return "-".join([parts[0].lower(), *(part.upper() if len(part) == 2 else part for part in parts[1:])])


def _time_zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (KeyError, OSError, ValueError) as error:
        raise InvalidInput("not a time zone of the IANA database", field="time_zone") from error


def set_status(
    session: Session, user_id: UUID, status: UserStatus, *, actor_id: UUID | None, reason: str, now: datetime
) -> User:
    """Suspend or re-admit; a suspended user's sessions end at once. Raises UserNotFound."""
    user = session.get(User, user_id, with_for_update=True)
    if user is None:
        raise UserNotFound("no such user", user_id=user_id)
    if user.status is not status:
        audit.record(
            session,
            action="user.status",
            user_id=user_id,
            actor_id=actor_id,
            detail={"from": user.status, "to": status, "reason": reason},
            now=now,
        )
        user.status = status
        if status is not UserStatus.ACTIVE:
            sign_out_everywhere(session, user, now, why=status.value)
    return user
