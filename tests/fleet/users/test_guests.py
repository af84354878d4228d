from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country, OutboxEvent
from fleet.db import session_scope
from fleet.settings import Environment, Settings
from fleet.users import guests, otp, tokens
from fleet.users.errors import CodeRefused, DestinationTaken, GuestsNotAllowed, NotAGuest, TokenRefused
from fleet.users.models import Role, User, UserAuditLog, UserSession
from fleet.users.tokens import Refused, SignedIn, TokenKeys
from tests.factories import add_guest
from tests.fleet.parallel import together
from tests.fleet.users.conftest import NOW, PHONE, sent_code, signed_in

LATER = NOW + timedelta(minutes=1)


def welcomed(session: Session, settings: Settings, keys: TokenKeys) -> SignedIn:
    return guests.welcome(session, NOW, settings, keys=keys, user_agent="test")


def proves(
    session: Session, settings: Settings, keys: TokenKeys, guest: User, code: str | None = None, to: str = PHONE
) -> SignedIn | Refused:
    """With the code that is sent to `to`, unless it is another one."""
    if code is None:
        otp.request_code(session, to, LATER, settings)
        code = sent_code(session, settings, to)
    return guests.become_account(session, to, code, LATER, settings, guest_id=guest.id, keys=keys)


def test_a_guest_is_a_rider_of_whom_nothing_is_known(session: Session, settings: Settings, keys: TokenKeys) -> None:
    session.add(
        Country(iso_code="CH", name="x", dial_code="+41", currency="CHF", locale="de-CH", time_zone="Europe/Zurich")
    )
    session.flush()
    found = guests.welcome(session, NOW, settings, keys=keys, country="CH", locale="fr_ch")
    guest = found.user
    assert (guest.guest, guest.phone, guest.email, guest.role) == (True, None, None, Role.RIDER)
    assert (guest.country, guest.locale, guest.time_zone) == ("CH", "fr-CH", "Europe/Zurich")
    claims = keys.verify_access(found.tokens.access_token, NOW)
    assert tokens.signed_in_user(session, claims, NOW).id == guest.id
    again = tokens.refresh(session, found.tokens.refresh_token, LATER, settings, keys)
    assert isinstance(again, SignedIn)


def test_a_country_that_nobody_knows_is_refused(session: Session, settings: Settings, keys: TokenKeys) -> None:
    with pytest.raises(InvalidInput) as refused:
        guests.welcome(session, NOW, settings, keys=keys, country="XX")
    assert refused.value.attributes["field"] == "country"
    assert session.scalar(select(func.count()).select_from(User).where(User.guest)) == 0


def test_guests_are_for_those_who_want_them(settings: Settings, session: Session, keys: TokenKeys) -> None:
    assert settings.guests
    production = settings.model_copy(update={"environment": Environment.PRODUCTION})
    assert not production.guests
    assert production.model_copy(update={"guests_allowed": True}).guests
    with pytest.raises(GuestsNotAllowed):
        guests.welcome(session, NOW, production, keys=keys)


@pytest.mark.parametrize("known", [{"phone": PHONE}, {"email": "a@example.com"}, {"role": Role.OPERATOR}])
def test_the_database_knows_what_a_guest_is(session: Session, known: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="ck_app_user_guest"), session.begin_nested():
        session.add(User(guest=True, tokens_valid_from=NOW, created_at=NOW, **known))


def test_nobody_without_an_address_is_anything_else(session: Session) -> None:
    with pytest.raises(IntegrityError, match="ck_app_user_reachable"), session.begin_nested():
        session.add(User(tokens_valid_from=NOW, created_at=NOW))


def test_who_proves_a_phone_is_the_same_user_with_an_account(
    session: Session, settings: Settings, keys: TokenKeys
) -> None:
    before = welcomed(session, settings, keys)
    found = proves(session, settings, keys, before.user)
    assert isinstance(found, SignedIn)
    user = session.get_one(User, before.user.id, populate_existing=True)
    assert (found.user.id, found.created, user.guest, user.phone) == (before.user.id, True, False, PHONE)
    log = session.scalars(select(UserAuditLog.action).where(UserAuditLog.user_id == user.id))
    assert list(log) == ["user.guest_signed_up"]
    published = session.scalars(select(OutboxEvent.payload).where(OutboxEvent.name == "users.UserRegistered"))
    assert [event["user_id"] for event in published] == [str(user.id)]
    assert signed_in(session, settings, keys, now=LATER + timedelta(minutes=1)).user.id == user.id


def test_the_guests_tokens_end_with_the_guest(session: Session, settings: Settings, keys: TokenKeys) -> None:
    before = welcomed(session, settings, keys)
    found = proves(session, settings, keys, before.user)
    assert isinstance(found, SignedIn)
    with pytest.raises(TokenRefused):
        tokens.signed_in_user(session, keys.verify_access(before.tokens.access_token, LATER), LATER)
    assert isinstance(tokens.refresh(session, before.tokens.refresh_token, LATER, settings, keys), Refused)
    claims = keys.verify_access(found.tokens.access_token, LATER)
    assert tokens.signed_in_user(session, claims, LATER).id == before.user.id


def test_without_the_code_no_address_is_attached(session: Session, settings: Settings, keys: TokenKeys) -> None:
    guest = welcomed(session, settings, keys).user
    otp.request_code(session, PHONE, LATER, settings)
    right = sent_code(session, settings, PHONE)
    wrong = f"{(int(right) + 1) % 10**6:06d}"
    for _ in range(settings.otp_attempts):
        refused = proves(session, settings, keys, guest, wrong)
        assert isinstance(refused, Refused)
        assert isinstance(refused.error, CodeRefused)
    refused = proves(session, settings, keys, guest, right)
    assert isinstance(refused, Refused), "tries are counted for guests too"
    session.refresh(guest)
    assert (guest.guest, guest.phone) == (True, None)


def test_an_account_is_not_taken_over_and_the_code_still_signs_in_to_it(
    session: Session, settings: Settings, keys: TokenKeys
) -> None:
    owner = signed_in(session, settings, keys).user
    guest = welcomed(session, settings, keys).user
    refused = proves(session, settings, keys, guest)
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, DestinationTaken)
    assert session.get_one(User, guest.id, populate_existing=True).guest
    code = sent_code(session, settings, PHONE)
    found = otp.verify_code(session, PHONE, code, LATER, settings, keys=keys)
    assert isinstance(found, SignedIn)
    assert found.user.id == owner.id
    again = proves(session, settings, keys, guest, code)
    assert isinstance(again, Refused), "a code works once"


def test_an_account_cannot_become_another_one(session: Session, settings: Settings, keys: TokenKeys) -> None:
    rider = signed_in(session, settings, keys).user
    refused = proves(session, settings, keys, rider, to="second@example.com")
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, NotAGuest)
    assert session.get_one(User, rider.id, populate_existing=True).email is None


def test_of_many_guests_with_one_code_one_has_the_phone(shared: Engine, settings: Settings, keys: TokenKeys) -> None:
    with session_scope(shared) as session:
        many = [add_guest(session, NOW) for _ in range(12)]
        otp.request_code(session, PHONE, LATER, settings)
        code = sent_code(session, settings, PHONE)

    def prove(number: int) -> bool:
        with session_scope(shared) as session:
            found = guests.become_account(session, PHONE, code, LATER, settings, guest_id=many[number], keys=keys)
            return isinstance(found, SignedIn)

    assert together(len(many), prove).count(True) == 1
    with session_scope(shared) as session:
        assert session.scalar(select(func.count()).select_from(User).where(User.guest)) == len(many) - 1
        (owner,) = session.scalars(select(User).where(User.phone == PHONE))
        assert owner.id in many
        assert session.scalar(select(func.count()).select_from(UserSession)) == 1
