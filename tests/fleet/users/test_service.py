from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country, OutboxEvent
from fleet.db import new_id, session_scope
from fleet.settings import Settings
from fleet.users import audit, service
from fleet.users.destinations import parse
from fleet.users.errors import UserNotFound
from fleet.users.models import Role, User, UserStatus
from fleet.users.tokens import TokenKeys
from tests.fleet.parallel import together
from tests.fleet.users.conftest import NOW, PHONE, signed_in


def test_an_account_begins_at_home(session: Session) -> None:
    session.add(
        Country(
            iso_code="DE", name="Germany", dial_code="+49", currency="EUR", locale="de-DE", time_zone="Europe/Berlin"
        )
    )
    german, _ = service.user_at(session, parse(PHONE), NOW)
    stranger, _ = service.user_at(session, parse("+8613800138000"), NOW)
    assert (german.country, german.locale, german.time_zone) == ("DE", "de-DE", "Europe/Berlin")
    assert (stranger.country, stranger.locale, stranger.time_zone) == (None, "en", "UTC")


def test_one_account_per_destination_even_in_parallel(shared: Engine) -> None:
    def enter(_: int) -> tuple[str, bool]:
        with session_scope(shared) as session:
            user, created = service.user_at(session, parse(PHONE), NOW)
            return str(user.id), created

    outcomes = together(50, enter)
    made = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
    assert len(made) == 50
    assert len({user for user, _ in made}) == 1
    assert [created for _, created in made].count(True) == 1
    with session_scope(shared) as session:
        told = session.scalar(select(func.count()).where(OutboxEvent.name == "users.UserRegistered"))
        assert told == 1


def test_an_operator_is_an_account_with_a_role(session: Session, settings: Settings, keys: TokenKeys) -> None:
    first = service.create_operator(session, "Op@Example.com", "Olga  P.", NOW)
    again = service.create_operator(session, "op@example.com", "Olga P.", NOW)
    assert first is again
    assert (first.role, first.name, first.email) == (Role.OPERATOR, "Olga P.", "op@example.com")
    assert signed_in(session, settings, keys, "op@example.com").user is first
    assert [entry.action for entry in audit.entries(session, about=first.id)] == [
        "user.signed_in",
        "user.made_operator",
    ]


def test_a_rider_can_become_an_operator(session: Session, settings: Settings, keys: TokenKeys) -> None:
    rider = signed_in(session, settings, keys, "op@example.com").user
    assert service.create_operator(session, "op@example.com", "Op", NOW) is rider
    assert rider.role is Role.OPERATOR


@pytest.fixture
def user(session: Session) -> User:
    return service.user_at(session, parse(PHONE), NOW)[0]


def test_a_profile_changes_where_it_is_told_to(session: Session, user: User) -> None:
    service.update_profile(session, user, name="  Ada   Lovelace ", locale="pt_br", time_zone="Europe/Lisbon")
    service.update_profile(session, user)
    assert (user.name, user.locale, user.time_zone) == ("Ada Lovelace", "pt-BR", "Europe/Lisbon")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""), ("name", "x" * 101), ("name", "a\u202eb"), ("locale", ""), ("locale", "de DE"),
        ("locale", "x" * 17), ("locale", "12"), ("time_zone", "Mars/Olympus"), ("time_zone", ""),
        ("time_zone", "../../etc/passwd"), ("time_zone", "/etc/localtime"),
    ],
)  # fmt: skip
def test_a_profile_has_limits(session: Session, user: User, field: str, value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        service.update_profile(session, user, **{field: value})
    assert caught.value.attributes["field"] == field


def test_users_are_found_by_what_is_known_of_them(session: Session, user: User) -> None:
    user.name = "Ada 100%"
    session.flush()
    for text in ("+49151", "ada", " 100% "):
        assert service.find_users(session, text) == [user]
    for text in ("_da", "1%", "nobody"):
        assert service.find_users(session, text) == []


def test_a_change_of_status_is_logged_once(session: Session, user: User) -> None:
    actor = service.create_operator(session, "op@example.com", "Op", NOW).id
    for _ in range(2):
        service.set_status(session, user.id, UserStatus.SUSPENDED, actor_id=actor, reason="fraud", now=NOW)
    (entry,) = [entry for entry in audit.entries(session, about=user.id) if entry.action == "user.status"]
    assert entry.detail == {"from": "active", "to": "suspended", "reason": "fraud"}
    assert entry.actor_id == actor
    service.set_status(session, user.id, UserStatus.ACTIVE, actor_id=actor, reason="sorry", now=NOW + timedelta(days=1))
    assert user.status is UserStatus.ACTIVE


def test_nobody_is_not_a_user(session: Session) -> None:
    with pytest.raises(UserNotFound):
        service.get_user(session, new_id())
    with pytest.raises(UserNotFound):
        service.set_status(session, new_id(), UserStatus.ACTIVE, actor_id=None, reason="", now=NOW)


def test_the_log_is_read_in_pages(session: Session, user: User) -> None:
    for number in range(5):
        audit.record(session, action=f"a{number}", user_id=user.id, now=NOW)
    first = audit.entries(session, about=user.id, limit=2)
    second = audit.entries(session, about=user.id, limit=2, before=first[-1].id)
    assert [entry.action for entry in (*first, *second)] == ["a4", "a3", "a2", "a1"]
