"""What a start says to PostgreSQL, and what its first message finds."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.idempotency import Once
from fleet.common import idempotency
from fleet.common.errors import IdempotencyKeyInUse, IdempotencyKeyReused
from fleet.common.idempotency import StoredAnswer
from fleet.common.roundtrips import Connection, send
from fleet.db import new_id, session_scope
from fleet.payments.models import LedgerAccount
from fleet.payments.wallets import lock_wallets_later
from fleet.rentals import queries
from fleet.rentals.queries import Shown
from fleet.rentals.starts import service as starts
from fleet.rentals.starts.queries import Asked, Known, look
from fleet.users.errors import TokenRefused, UserSuspended
from fleet.users.models import Role, User, UserSession, UserStatus
from fleet.users.tokens import AccessClaims
from tests.databases import Database
from tests.factories import add_rider, give_money
from tests.fleet.parallel import together
from tests.fleet.rentals.test_races import Town
from tests.fleet.rentals.world import POLICY

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Phone:
    """A rider who is signed in."""

    town: Town
    claims: AccessClaims

    def once(self, key: str = "k", body: bytes = b"{}") -> Once:
        return Once(str(self.claims.user_id), key, "POST /api/v1/rental/start", body, None)

    def asked(self, once: Once) -> Asked:
        return Asked(self.claims, once.claim())

    def look(self, session: Session, once: Once) -> Known:
        now, asked = self.town.now, self.asked(once)
        return look(session, user_id=self.claims.user_id, station_code="A", now=now, asked=asked)

    def start(self, session: Session, once: Once) -> Shown:
        """What the API does for a first request."""
        now, known = self.town.now, self.look(session, once)
        assert known.earlier is None
        rental = starts.start(
            session, user_id=self.claims.user_id, station_code="A", slot=None, now=now, policy=POLICY, known=known
        )
        once.finish(session, StoredAnswer(202, {"id": str(rental.id)}), now)
        return rental


def phone(town: Town) -> Phone:
    with session_scope(town.engine) as session:
        user_id = add_rider(session, town.now)
        opened = UserSession(user_id=user_id, created_at=town.now, last_used_at=town.now, expires_at=town.now + HOUR)
        session.add(opened)
        session.flush()
        return Phone(town, AccessClaims(user_id, Role.RIDER, opened.id, town.now))


@pytest.fixture
def city(clean_database: Database, now: datetime) -> Town:
    """A station with as many banks as a test needs."""
    town = Town(clean_database.engine, now)
    town.station("A", 6, 6)
    return town


def driver_of(session: Session) -> Connection:
    return cast("Connection", session.connection().connection.dbapi_connection)


def test_a_start_is_three_messages_and_a_look_is_one(city: Town) -> None:
    """What is known, which bank, all rows with their COMMIT; what is prepared at first use is not counted."""
    counted = []
    for _ in range(2):
        rider = phone(city)
        with session_scope(city.engine) as session:
            driver = driver_of(session)
            before = driver.round_trips
            rental = rider.start(session, rider.once())
            asked = driver.round_trips - before
        begun = driver.round_trips - before
        with Session(city.engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
            driver = driver_of(session)
            before = driver.round_trips
            assert queries.shown(session, rider.claims.user_id, rental.id) == rental
        counted.append((asked, begun, driver.round_trips - before))
    assert counted[1] == (2, 3, 1)


def test_what_a_start_returns_is_what_is_in_the_database(city: Town) -> None:
    rider = phone(city)
    with session_scope(city.engine) as session:
        begun = rider.start(session, rider.once())
    with session_scope(city.engine) as session:
        assert queries.shown(session, rider.claims.user_id, begun.id) == begun
        assert Shown.of(queries.rental_by_id(session, begun.id)) == begun


def test_a_key_is_answered_once_whoever_asks_again(city: Town) -> None:
    rider = phone(city)
    with session_scope(city.engine) as session:
        begun = rider.start(session, rider.once())
    with session_scope(city.engine) as session:
        assert rider.look(session, rider.once()).earlier == StoredAnswer(202, {"id": str(begun.id)})
    with pytest.raises(IdempotencyKeyReused), session_scope(city.engine) as session:
        rider.look(session, rider.once(body=b"{ }"))


def test_a_start_that_is_rolled_back_leaves_its_key_free(city: Town) -> None:
    rider = phone(city)
    with Session(city.engine) as session:
        rider.start(session, rider.once())
        session.rollback()
    with session_scope(city.engine) as session:
        assert rider.look(session, rider.once()).earlier is None


@pytest.mark.parametrize("trouble", ["signed_out", "older_than_the_account_allows", "another_session", "suspended"])
def test_who_may_not_come_in_is_told_before_anything_else(city: Town, trouble: str) -> None:
    rider = phone(city)
    claims, error = rider.claims, UserSuspended if trouble == "suspended" else TokenRefused
    with session_scope(city.engine) as session:
        user, opened = session.get_one(User, claims.user_id), session.get_one(UserSession, claims.session_id)
        if trouble == "signed_out":
            opened.revoked_at = city.now
        elif trouble == "older_than_the_account_allows":
            user.tokens_valid_from = city.now + HOUR
        elif trouble == "another_session":
            rider = replace(rider, claims=replace(claims, session_id=new_id()))
        else:
            user.status = UserStatus.SUSPENDED
    for _ in range(2):  # nothing is kept of it
        with pytest.raises(error), session_scope(city.engine) as session:
            rider.look(session, rider.once())


def test_who_waits_for_the_key_hears_that_the_first_request_runs_and_who_waits_for_the_wallet_does_not(
    city: Town,
) -> None:
    rider = phone(city)

    def impatient(key: str) -> None:
        once = rider.once(key)
        with session_scope(city.engine) as session, once.waiting():
            session.execute(text("SET LOCAL lock_timeout TO '50ms'"))
            rider.look(session, once)

    with Session(city.engine) as first:
        idempotency.claim_later(first, rider.once().claim(), city.now)
        first.execute(text("SELECT"))
        with pytest.raises(IdempotencyKeyInUse):
            impatient("k")
        first.rollback()
        first.scalars(
            select(LedgerAccount.id).where(LedgerAccount.owner_id == rider.claims.user_id).with_for_update()
        ).one()
        with pytest.raises(OperationalError):
            impatient("k")


def test_what_is_found_is_newer_than_the_lock_of_the_wallet(city: Town) -> None:
    """Two starts of one rider: the second sees the place that the first one took, whenever it asked."""
    rider = phone(city)

    def places(number: int) -> int:
        with session_scope(city.engine) as session:
            once = rider.once(f"k{number}")
            known = rider.look(session, once)
            taken = len(known.rider.places_taken)
            starts.start(
                session, user_id=rider.claims.user_id, station_code="A", slot=None, now=city.now,
                policy=replace(POLICY, max_open_rentals=6), known=known,
            )  # fmt: skip
            return taken

    assert Counter(together(6, places)) == Counter(range(6))


def _rider_without_wallet(city: Town) -> tuple[UUID, Phone]:
    with session_scope(city.engine) as session:
        user_id = add_rider(session, city.now, funds_minor=0)
        opened = UserSession(user_id=user_id, created_at=city.now, last_used_at=city.now, expires_at=city.now + HOUR)
        session.add(opened)
        session.flush()
        return user_id, Phone(city, AccessClaims(user_id, Role.RIDER, opened.id, city.now))


def test_a_wallet_that_is_opened_behind_the_lock_is_not_locked(city: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    user_id, rider = _rider_without_wallet(city)

    def first_credit_behind(session: Session, who: UUID) -> None:
        lock_wallets_later(session, who)
        send(session)  # as where a connection prepares the question for the first time
        with session_scope(city.engine) as other:
            give_money(other, user_id, city.now, 5000)

    with monkeypatch.context() as patched, Session(city.engine) as early:
        patched.setattr("fleet.rentals.starts.queries.lock_wallets_later", first_credit_behind)
        assert rider.look(early, rider.once()).purse is None
        early.rollback()
    with session_scope(city.engine) as late:
        purse = rider.look(late, rider.once()).purse
        assert purse is not None
        assert purse.available_minor == 5000
