"""Sign-up and sign-in by one-time code. Nothing here tells a stranger whether an account exists."""

import hashlib
import hmac
import re
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, delete, select, text, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from fleet.common.networks import one_line
from fleet.common.outbox import publish
from fleet.settings import Settings
from fleet.users import audit, rules, tokens
from fleet.users.destinations import Destination, parse
from fleet.users.errors import CodeRefused, TooManyCodes, UserSuspended
from fleet.users.events import OtpRequested
from fleet.users.messages import Message, MessageSender
from fleet.users.models import OtpChallenge, UserStatus
from fleet.users.senders import check_reachable
from fleet.users.service import user_at
from fleet.users.tokens import Refused, SignedIn, TokenKeys

_CODE = re.compile(r"[0-9]{6}", re.ASCII)
REFUSAL: Final = "this code is wrong or has expired"


def request_code(
    session: Session,
    destination: str,
    now: datetime,
    settings: Settings,
    *,
    region: str | None = None,
    address: str | None = None,
) -> OtpChallenge:
    """Have a code sent to a phone or e-mail address, known or not: the answer is the same.

    `region` is where a phone number without country code is dialled, `address` the caller's network address, of which
    IPv6 counts by the network. Raises InvalidInput, TooManyCodes, NoSender.
    """
    found = parse(destination, region)
    check_reachable(found.value, settings)
    address = None if address is None else one_line(address)
    _check_limits(session, OtpChallenge.destination, found.value, rules.PER_DESTINATION, now)
    if address is not None:
        _check_limits(session, OtpChallenge.address, address, rules.PER_ADDRESS, now)
    challenge = OtpChallenge(
        destination=found.value,
        address=address,
        attempts_left=settings.otp_attempts,
        created_at=now,
        expires_at=now + timedelta(seconds=settings.otp_ttl_s),
    )
    session.add(challenge)
    session.flush()  # the event carries its id
    publish(session, OtpRequested(challenge.id), now)
    return challenge


def _check_limits(
    session: Session,
    column: InstrumentedAttribute[Any],
    value: str,
    limits: tuple[rules.SendLimit, ...],
    now: datetime,
) -> None:
    """Counted in the database under a lock per value: several API processes see the same figure."""
    session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": f"otp.{column.key}:{value}"}
    )
    longest = max(limit.window for limit in limits)
    most = max(limit.count for limit in limits)
    query = (
        select(OtpChallenge.created_at)
        .where(column == value, OtpChallenge.created_at > now - longest)
        .order_by(OtpChallenge.created_at.desc())
        .limit(most)
    )
    wait = rules.wait_before_next(list(session.scalars(query)), limits, now)
    if wait > timedelta(0):
        raise TooManyCodes("too many codes were asked for; wait a little", retry_after_s=wait.total_seconds())


def code_of(challenge: OtpChallenge, settings: Settings) -> str:
    """The challenge's code (decision 0021). It is stored nowhere and must be logged nowhere."""
    key = settings.secret_bytes("otp")
    return rules.as_code(hmac.digest(key, f"{challenge.id}:{challenge.destination}".encode(), hashlib.sha256))


def deliver_code(
    session: Session, challenge_id: UUID, sender: MessageSender, now: datetime, settings: Settings
) -> bool:
    """Send a challenge's code, once; False when there is nothing to send any more.

    The row is locked while the sender works, so that two workers do not send it twice. Raises what the sender raises.
    """
    challenge = session.scalars(
        select(OtpChallenge).where(OtpChallenge.id == challenge_id).with_for_update()
    ).one_or_none()
    if challenge is None or challenge.sent_at or challenge.used_at or challenge.expires_at <= now:
        return False
    minutes = max(1, settings.otp_ttl_s // 60)
    code = code_of(challenge, settings)
    body = f"{code} is your Voltbay code. It is valid for {minutes} minutes."
    sender.send(session, Message(challenge.id, challenge.destination, "Your Voltbay code", body), now)
    challenge.sent_at = now
    return True


def verify_code(
    session: Session,
    destination: str,
    code: str,
    now: datetime,
    settings: Settings,
    *,
    keys: TokenKeys,
    region: str | None = None,
    user_agent: str | None = None,
    address: str | None = None,
) -> SignedIn | Refused:
    """Sign in, and up when nobody is reached there yet. Only the newest code counts, and each try is counted.

    `Refused` must be committed before its error (CodeRefused, UserSuspended) is raised: otherwise tries are unlimited.
    """
    found = parse(destination, region)
    challenge = proven(session, found, code, now, settings)
    if challenge is None:
        return Refused(CodeRefused(REFUSAL))
    challenge.used_at = now
    user, created = user_at(session, found, now)
    if user.status is not UserStatus.ACTIVE:
        audit.record(session, action="user.sign_in_refused", user_id=user.id, now=now, address=address)
        return Refused(UserSuspended("this account is suspended"))
    action = "user.signed_up" if created else "user.signed_in"
    audit.record(session, action=action, user_id=user.id, actor_id=user.id, now=now, address=address)
    return SignedIn(user, tokens.issue(session, user, now, settings, keys=keys, user_agent=user_agent), created)


def proven(
    session: Session, destination: Destination, code: str, now: datetime, settings: Settings
) -> OtpChallenge | None:
    """The challenge that `code` answers, locked, for the caller to use up; None: refused, and a try is counted.

    Two who try at once wait for each other here.
    """
    challenge = _take_try(session, destination.value, now)
    given = re.sub(r"[\s-]", "", code)
    return challenge if challenge is not None and _matches(challenge, given, settings) else None


def _take_try(session: Session, destination: str, now: datetime) -> OtpChallenge | None:
    """Use one try of the destination's newest code, whoever asks and however many at once; None: there is none left."""
    newest = (
        select(OtpChallenge.id)
        .where(OtpChallenge.destination == destination)
        .order_by(OtpChallenge.created_at.desc(), OtpChallenge.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return session.scalars(
        update(OtpChallenge)
        .where(OtpChallenge.id == newest, *_open(now))
        .values(attempts_left=OtpChallenge.attempts_left - 1)
        .returning(OtpChallenge)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one_or_none()


def _open(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (OtpChallenge.used_at.is_(None), OtpChallenge.expires_at > now, OtpChallenge.attempts_left > 0)


def _matches(challenge: OtpChallenge, given: str, settings: Settings) -> bool:
    return _CODE.fullmatch(given) is not None and hmac.compare_digest(code_of(challenge, settings), given)


def forget_old_challenges(session: Session, now: datetime) -> int:
    """Delete challenges that no limit counts any more; returns how many."""
    old = delete(OtpChallenge).where(OtpChallenge.created_at < now - rules.LONGEST_WINDOW)
    return len(session.scalars(old.returning(OtpChallenge.id)).all())
