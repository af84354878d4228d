"""People who rent without an account: made by one request, kept when they prove an address. Decision 0315."""

from datetime import datetime
from uuid import UUID

from psycopg2.errors import UniqueViolation
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country
from fleet.common.outbox import publish
from fleet.settings import Settings
from fleet.users import audit, otp, tokens
from fleet.users.destinations import Destination, parse
from fleet.users.errors import CodeRefused, DestinationTaken, GuestsNotAllowed, NotAGuest
from fleet.users.events import UserRegistered
from fleet.users.models import Role, User, UserStatus
from fleet.users.service import read_locale, ways_of
from fleet.users.tokens import Refused, SignedIn, TokenKeys, sign_out_everywhere


def welcome(
    session: Session,
    now: datetime,
    settings: Settings,
    *,
    keys: TokenKeys,
    locale: str | None = None,
    country: str | None = None,
    user_agent: str | None = None,
) -> SignedIn:
    """A new guest with tokens of their own: whoever loses those has lost the guest. `country`: ISO 3166, of the fleet.

    Raises GuestsNotAllowed, InvalidInput.
    """
    if not settings.guests:
        raise GuestsNotAllowed("sign up with a phone or an e-mail address to rent here")
    home = None if country is None else session.get(Country, country)
    if country is not None and home is None:
        raise InvalidInput("the fleet does no business in this country", field="country")
    ways = ways_of(home) | ({} if locale is None else {"locale": read_locale(locale)})
    guest = User(
        guest=True, role=Role.RIDER, status=UserStatus.ACTIVE, tokens_valid_from=now, created_at=now, **ways
    )  # fmt: skip
    session.add(guest)
    session.flush()  # the session refers to it
    return SignedIn(guest, tokens.issue(session, guest, now, settings, keys=keys, user_agent=user_agent), created=True)


def become_account(
    session: Session,
    destination: str,
    code: str,
    now: datetime,
    settings: Settings,
    *,
    guest_id: UUID,
    keys: TokenKeys,
    user_agent: str | None = None,
    address: str | None = None,
) -> SignedIn | Refused:
    """The guest proves a phone or an e-mail address, and is the same user with an account: rentals, receipts, cards.

    Every session of the guest ends and a new one begins. An address at which somebody else has an account is refused
    (DestinationTaken), and its code stays good to sign in with. `Refused` must be committed before its error
    (CodeRefused, NotAGuest, DestinationTaken) is raised: otherwise tries are unlimited. Raises InvalidInput.
    """
    found = parse(destination)
    challenge = otp.proven(session, found, code, now, settings)
    if challenge is None:
        return Refused(CodeRefused(otp.REFUSAL))
    user = session.get_one(User, guest_id, with_for_update=True, populate_existing=True)
    if not user.guest:
        return Refused(NotAGuest("this is an account already", user_id=user.id))
    if not _attach(session, user, found):
        return Refused(DestinationTaken("somebody has an account there: sign in to it with this code"))
    challenge.used_at = now
    audit.record(session, action="user.guest_signed_up", user_id=user.id, actor_id=user.id, now=now, address=address)
    publish(session, UserRegistered(user.id), now)
    sign_out_everywhere(session, user, now, why="account")
    return SignedIn(user, tokens.issue(session, user, now, settings, keys=keys, user_agent=user_agent), created=True)


def _attach(session: Session, user: User, destination: Destination) -> bool:
    """False when somebody else is reached there, perhaps for a moment only."""
    column = User.phone if destination.is_phone else User.email
    if session.scalar(select(User.id).where(column == destination.value)) is not None:
        return False
    try:
        with session.begin_nested():
            user.guest = False
            setattr(user, column.key, destination.value)
    except IntegrityError as error:  # signed up in this moment, by an older code than this one
        if not isinstance(error.orig, UniqueViolation):
            raise
        return False
    if user.country is None and destination.region is not None:
        home = session.get(Country, destination.region)
        user.country = None if home is None else home.iso_code
    return True
