from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments import holds, wallets
from fleet.payments.models import LedgerTransfer
from fleet.users.models import User
from tests.databases import Database
from tests.fleet.parallel import wide_engine

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
THREADS = 50


def add_rider(session: Session, funds: int = 0, currency: str = "EUR") -> UUID:
    """A rider whose wallet holds `funds` minor units."""
    user = User(email=f"{uuid4().hex}@example.com", tokens_valid_from=NOW, created_at=NOW)
    session.add(user)
    session.flush()  # the wallet's account refers to the user
    if funds:
        wallets.adjust(
            session,
            user_id=user.id,
            money=Money(funds, currency),
            reason="start",
            actor_id=user.id,
            key="start",
            now=NOW,
        )
    return user.id


def hold_for_rental(session: Session, *, user_id: UUID, rental_id: UUID, money: Money, now: datetime) -> LedgerTransfer:
    """Money set aside on the rider's wallet, as starts do."""
    return holds.hold_from(session, wallets.lock_purse(session, user_id, money.currency, now), rental_id, money, now)


def available(session: Session, user_id: UUID, currency: str = "EUR") -> int:
    return wallets.balance(session, wallets.wallet_of(session, user_id, currency, NOW)).available_minor


@pytest.fixture
def books(clean_database: Database) -> Iterator[Engine]:
    """A database of one's own with room for 50 transactions at once, for what needs real commits."""
    with wide_engine(clean_database.url, THREADS) as engine:
        yield engine


@pytest.fixture
def rider(session: Session) -> UUID:
    """A rider with 10.00 EUR."""
    return add_rider(session, 1000)


@pytest.fixture
def committed_rider(books: Engine) -> UUID:
    """A rider with 10.00 EUR, committed."""
    with session_scope(books) as session:
        return add_rider(session, 1000)
