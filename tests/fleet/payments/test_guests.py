from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from fleet.db import session_scope
from fleet.payments import guests, wallets
from fleet.payments.intent_models import PaymentMethod
from fleet.users import audit
from fleet.users.models import RefreshToken, User, UserSession
from tests.databases import Database
from tests.factories import add_guest, add_rider
from tests.fleet.parallel import together, wide_engine

MONTH = timedelta(days=30)


def seen(session: Session, user_id: UUID, at: datetime) -> None:
    opened = UserSession(user_id=user_id, created_at=at, last_used_at=at, expires_at=at + MONTH)
    session.add(opened)
    session.flush()
    session.add(RefreshToken(session_id=opened.id, token_hash=user_id.bytes * 2, created_at=at, expires_at=at + MONTH))
    session.flush()


def left(session: Session) -> set[UUID]:
    return set(session.scalars(select(User.id)))


def test_guests_who_only_looked_are_forgotten(session: Session, now: datetime) -> None:
    guest, lately, rider = add_guest(session, now), add_guest(session, now), add_rider(session, now, 0)
    seen(session, guest, now)
    seen(session, lately, now + timedelta(days=29))
    assert guests.forget(session, now) == 0, "not seen before: seen then"
    assert guests.forget(session, now + timedelta(days=1)) == 1
    assert left(session) == {lately, rider}
    assert session.scalar(select(func.count()).select_from(RefreshToken)) == 1
    assert guests.forget(session, now + timedelta(days=1)) == 0


@pytest.mark.parametrize("trace", ["wallet", "card", "log"])
def test_what_a_guest_left_in_the_books_stays_with_them(session: Session, now: datetime, trace: str) -> None:
    guest = add_guest(session, now)
    if trace == "wallet":
        wallets.wallet_of(session, guest, "EUR", now)
    elif trace == "card":
        session.add(
            PaymentMethod(
                user_id=guest, provider="sandbox", token="pm_1", kind="card", brand="visa", last4="4242",
                is_default=True, created_at=now,
            )
        )  # fmt: skip
    else:
        audit.record(session, action="user.status", user_id=guest, now=now)
    session.flush()
    assert guests.forget(session, now + MONTH) == 0
    assert guest in left(session)


def test_two_sweeps_at_once_forget_each_guest_once(clean_database: Database, now: datetime) -> None:
    def sweep(engine: Engine) -> int:
        with session_scope(engine) as session:
            return guests.forget(session, now + MONTH)

    with wide_engine(clean_database.url, 8) as engine:
        with session_scope(engine) as session:
            for _ in range(20):
                seen(session, add_guest(session, now), now)
        found = together(8, lambda _: sweep(engine))
        assert sum(each for each in found if isinstance(each, int)) == 20, found
        with session_scope(engine) as session:
            assert left(session) == set()
