from datetime import timedelta
from itertools import count, pairwise

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import OutboxEvent
from fleet.db import new_id, session_scope
from fleet.settings import Environment, Settings
from fleet.users import otp, service
from fleet.users.errors import CodeRefused, NoSender, TooManyCodes, UserSuspended
from fleet.users.models import OtpChallenge, SandboxMessage, User, UserAuditLog, UserStatus
from fleet.users.senders import SandboxSender, sender_from
from fleet.users.tokens import Refused, SignedIn, TokenKeys
from tests.fleet.parallel import together
from tests.fleet.users.conftest import NOW, PHONE, sent_code, signed_in

MAIL = "rider@example.com"


def verify(session: Session, settings: Settings, keys: TokenKeys, code: str, **more: object) -> SignedIn | Refused:
    now = more.get("now", NOW)
    return otp.verify_code(session, PHONE, code, now, settings, keys=keys)  # type: ignore[arg-type]  # a datetime


def refused(found: SignedIn | Refused, kind: type[Exception] = CodeRefused) -> bool:
    return isinstance(found, Refused) and type(found.error) is kind


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06d}"


def test_the_first_code_makes_an_account_the_next_finds_it(
    session: Session, settings: Settings, keys: TokenKeys
) -> None:
    first = signed_in(session, settings, keys)
    second = signed_in(session, settings, keys, now=NOW + timedelta(minutes=1))
    assert (first.created, second.created) == (True, False)
    assert first.user.id == second.user.id
    assert (first.user.phone, first.user.email, first.user.status) == (PHONE, None, UserStatus.ACTIVE)
    assert first.tokens.session_id != second.tokens.session_id


def test_mail_works_too_however_it_is_written(session: Session, settings: Settings, keys: TokenKeys) -> None:
    otp.request_code(session, " Rider@Example.com", NOW, settings)
    code = sent_code(session, settings, MAIL)
    found = otp.verify_code(session, "RIDER@example.com ", f" {code[:3]} {code[3:]} ", NOW, settings, keys=keys)
    assert isinstance(found, SignedIn)
    assert found.user.email == MAIL


def test_sign_up_and_sign_in_are_logged(session: Session, settings: Settings, keys: TokenKeys) -> None:
    user = signed_in(session, settings, keys).user
    signed_in(session, settings, keys, now=NOW + timedelta(minutes=1))
    log = session.scalars(select(UserAuditLog.action).where(UserAuditLog.user_id == user.id).order_by(UserAuditLog.id))
    assert list(log) == ["user.signed_up", "user.signed_in"]


def test_a_wrong_code_is_refused(session: Session, settings: Settings, keys: TokenKeys) -> None:
    otp.request_code(session, PHONE, NOW, settings)
    assert refused(verify(session, settings, keys, wrong(sent_code(session, settings, PHONE))))
    assert session.scalar(select(func.count()).select_from(User).where(User.phone == PHONE)) == 0


@pytest.mark.parametrize(
    "code",
    [
        "",
        "12345",
        "1234567",
        "abcdef",
        "\u0661\u0662\u0663\u0664\u0665\u0666",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "-12345",
    ],
)
def test_what_is_no_code_is_refused(session: Session, settings: Settings, keys: TokenKeys, code: str) -> None:
    otp.request_code(session, PHONE, NOW, settings)
    assert refused(verify(session, settings, keys, code))


def test_a_code_works_once(session: Session, settings: Settings, keys: TokenKeys) -> None:
    signed_in(session, settings, keys)
    assert refused(verify(session, settings, keys, sent_code(session, settings, PHONE)))


def test_a_code_works_for_five_minutes(session: Session, settings: Settings, keys: TokenKeys) -> None:
    otp.request_code(session, PHONE, NOW, settings)
    code = sent_code(session, settings, PHONE)
    assert refused(verify(session, settings, keys, code, now=NOW + timedelta(minutes=5)))
    assert isinstance(verify(session, settings, keys, code, now=NOW + timedelta(seconds=299)), SignedIn)


def test_five_tries_and_no_more(session: Session, settings: Settings, keys: TokenKeys) -> None:
    otp.request_code(session, PHONE, NOW, settings)
    code = sent_code(session, settings, PHONE)
    for _ in range(5):
        assert refused(verify(session, settings, keys, wrong(code)))
    assert refused(verify(session, settings, keys, code))


def test_the_fifth_try_may_be_right(session: Session, settings: Settings, keys: TokenKeys) -> None:
    otp.request_code(session, PHONE, NOW, settings)
    code = sent_code(session, settings, PHONE)
    for _ in range(4):
        verify(session, settings, keys, wrong(code))
    assert isinstance(verify(session, settings, keys, code), SignedIn)


def test_only_the_newest_code_counts(session: Session, settings: Settings, keys: TokenKeys) -> None:
    otp.request_code(session, PHONE, NOW, settings)
    first = sent_code(session, settings, PHONE)
    later = NOW + timedelta(minutes=1)
    otp.request_code(session, PHONE, later, settings)
    second = sent_code(session, settings, PHONE)
    assert first != second
    assert refused(verify(session, settings, keys, first, now=later))
    assert isinstance(verify(session, settings, keys, second, now=later), SignedIn)


def test_a_code_is_for_its_destination(session: Session, settings: Settings, keys: TokenKeys) -> None:
    otp.request_code(session, PHONE, NOW, settings)
    otp.request_code(session, MAIL, NOW, settings)
    assert refused(verify(session, settings, keys, sent_code(session, settings, MAIL)))


def test_nothing_tells_whether_an_account_exists(session: Session, settings: Settings, keys: TokenKeys) -> None:
    """Same effects, same refusals: for a known phone, an unknown one, and one that never asked for a code."""
    signed_in(session, settings, keys, PHONE)
    later = NOW + timedelta(hours=2)
    known = otp.request_code(session, PHONE, later, settings)
    unknown = otp.request_code(session, "+4915198765432", later, settings)
    assert known.expires_at == unknown.expires_at
    answers = {
        found.error.message if isinstance(found, Refused) else "in"
        for found in (
            otp.verify_code(session, PHONE, "bad", later, settings, keys=keys),
            otp.verify_code(session, "+4915198765432", "bad", later, settings, keys=keys),
            otp.verify_code(session, "+4915112312312", "000000", later, settings, keys=keys),
        )
    }
    assert len(answers) == 1


def test_codes_for_one_phone_are_rationed(session: Session, settings: Settings) -> None:
    times = []
    now = NOW
    for _ in range(12):
        try:
            otp.request_code(session, PHONE, now, settings)
            times.append(now)
        except TooManyCodes as error:
            now += timedelta(seconds=error.attributes["retry_after_s"])
            otp.request_code(session, PHONE, now, settings)
            times.append(now)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= timedelta(seconds=30)
    assert times[5] - times[0] >= timedelta(hours=1)
    assert times[10] - times[0] >= timedelta(days=1)


def test_a_line_with_addresses_without_end_is_one_address(session: Session, settings: Settings) -> None:
    for number in range(30):
        otp.request_code(session, f"+4179555{number:04}", NOW, settings, address=f"2001:db8::{number}")
    with pytest.raises(TooManyCodes):
        otp.request_code(session, "+41795551000", NOW, settings, address="2001:db8::1:0:0:1")
    otp.request_code(session, "+41795551000", NOW, settings, address="2001:db8:0:1::1")


def test_codes_from_one_address_are_rationed(session: Session, settings: Settings) -> None:
    phones = (f"+4915123{number:06d}" for number in count())
    for _ in range(30):
        otp.request_code(session, next(phones), NOW, settings, address="192.0.2.7")
    with pytest.raises(TooManyCodes) as caught:
        otp.request_code(session, next(phones), NOW, settings, address="192.0.2.7")
    assert caught.value.attributes["retry_after_s"] == 3600
    otp.request_code(session, next(phones), NOW, settings, address="192.0.2.8")


def test_limits_hold_for_many_processes_at_once(shared: Engine, settings: Settings) -> None:
    def ask(_: int) -> None:
        with session_scope(shared) as session:
            otp.request_code(session, PHONE, NOW, settings, address="192.0.2.7")

    outcomes = together(50, ask)
    assert outcomes.count(None) == 1
    assert {type(outcome) for outcome in outcomes if outcome is not None} == {TooManyCodes}


def test_parallel_guesses_share_five_tries(shared: Engine, settings: Settings, keys: TokenKeys) -> None:
    with session_scope(shared) as session:
        otp.request_code(session, PHONE, NOW, settings)
        right = sent_code(session, settings, PHONE)

    def guess(_: int) -> bool:
        with session_scope(shared) as session:
            return isinstance(verify(session, settings, keys, wrong(right)), Refused)

    assert all(together(50, guess))
    with session_scope(shared) as session:
        assert session.scalar(select(OtpChallenge.attempts_left)) == 0
        assert refused(verify(session, settings, keys, right))


def test_one_code_signs_in_once_even_in_parallel(shared: Engine, settings: Settings, keys: TokenKeys) -> None:
    with session_scope(shared) as session:
        otp.request_code(session, PHONE, NOW, settings)
        right = sent_code(session, settings, PHONE)

    def enter(_: int) -> bool:
        with session_scope(shared) as session:
            return isinstance(verify(session, settings, keys, right), SignedIn)

    assert together(5, enter).count(True) == 1
    with session_scope(shared) as session:
        assert session.scalar(select(func.count()).select_from(User)) == 1


def test_a_suspended_user_is_told_after_proving_who_they_are(
    session: Session, settings: Settings, keys: TokenKeys
) -> None:
    user = signed_in(session, settings, keys).user
    service.set_status(session, user.id, UserStatus.SUSPENDED, actor_id=None, reason="fraud", now=NOW)
    later = NOW + timedelta(minutes=1)
    otp.request_code(session, PHONE, later, settings)
    code = sent_code(session, settings, PHONE)
    assert refused(verify(session, settings, keys, wrong(code), now=later))
    assert refused(verify(session, settings, keys, code, now=later), UserSuspended)


def test_the_code_is_delivered_once_and_is_nowhere_else(session: Session, settings: Settings) -> None:
    challenge = otp.request_code(session, PHONE, NOW, settings)
    code = otp.code_of(challenge, settings)
    event = session.scalars(select(OutboxEvent).order_by(OutboxEvent.id.desc()).limit(1)).one()
    assert (event.name, event.payload) == ("users.OtpRequested", {"challenge_id": str(challenge.id)})
    assert code not in repr(vars(challenge))
    sender = sender_from(settings)
    assert otp.deliver_code(session, challenge.id, sender, NOW, settings)
    assert not otp.deliver_code(session, challenge.id, sender, NOW, settings)
    messages = session.scalars(select(SandboxMessage).where(SandboxMessage.destination == PHONE)).all()
    assert [message.body for message in messages] == [f"{code} is your Voltbay code. It is valid for 5 minutes."]


@pytest.mark.parametrize("late", ["expired", "used", "gone"])
def test_a_code_that_is_no_use_is_not_sent(session: Session, settings: Settings, keys: TokenKeys, late: str) -> None:
    challenge_id, now = new_id(), NOW
    if late != "gone":
        challenge_id = otp.request_code(session, PHONE, NOW, settings).id
    if late == "used":
        verify(session, settings, keys, sent_code(session, settings, PHONE))
    if late == "expired":
        now += timedelta(minutes=5)
    assert not otp.deliver_code(session, challenge_id, SandboxSender(), now, settings)


def test_production_does_not_pretend_to_send(session: Session, settings: Settings) -> None:
    challenge = otp.request_code(session, PHONE, NOW, settings)
    production = settings.model_copy(update={"environment": Environment.PRODUCTION})
    with pytest.raises(NoSender):
        otp.deliver_code(session, challenge.id, sender_from(production), NOW, production)
    assert challenge.sent_at is None
    with pytest.raises(NoSender):
        otp.request_code(session, "other@example.com", NOW, production)


def test_codes_depend_on_the_secret(session: Session, settings: Settings) -> None:
    challenge = otp.request_code(session, PHONE, NOW, settings)
    codes = {
        otp.code_of(challenge, settings.model_copy(update={"secret_key": SecretStr(str(number))}))
        for number in range(9)
    }
    assert len(codes) > 6


def test_old_challenges_are_forgotten_when_no_limit_counts_them(session: Session, settings: Settings) -> None:
    old = otp.request_code(session, MAIL, NOW - timedelta(days=1, seconds=1), settings)
    young = otp.request_code(session, PHONE, NOW - timedelta(hours=23), settings)
    otp.forget_old_challenges(session, NOW)
    left = session.scalars(select(OtpChallenge.id)).all()
    assert young.id in left
    assert old.id not in left


def test_nonsense_is_not_a_destination(session: Session, settings: Settings, keys: TokenKeys) -> None:
    with pytest.raises(InvalidInput):
        otp.request_code(session, "nonsense", NOW, settings)
    with pytest.raises(InvalidInput):
        otp.verify_code(session, "nonsense", "123456", NOW, settings, keys=keys)
