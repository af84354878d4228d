"""Small makers of what tests need before they begin: riders with money, stations, banks, a tariff."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments import wallets
from fleet.rentals.tariffs.models import Tariff
from fleet.stations.models import Station
from fleet.stations.service import add_power_banks, create_station
from fleet.stations.specs import StationSpec
from fleet.users.models import User


def add_rider(session: Session, now: datetime, funds_minor: int = 5000, currency: str = "EUR") -> UUID:
    """An active rider with money in the wallet."""
    user = User(email=f"{uuid4().hex}@example.com", tokens_valid_from=now, created_at=now)
    session.add(user)
    session.flush()  # the wallet's account refers to the user
    if funds_minor:
        give_money(session, user.id, now, funds_minor, currency)
    return user.id


def add_guest(session: Session, now: datetime) -> UUID:
    """A rider without an account."""
    guest = User(guest=True, tokens_valid_from=now, created_at=now)
    session.add(guest)
    session.flush()  # what the guest has refers to them
    return guest.id


def give_money(session: Session, user_id: UUID, now: datetime, amount_minor: int, currency: str = "EUR") -> None:
    money = Money(amount_minor, currency)
    wallets.adjust(session, user_id=user_id, money=money, reason="test", actor_id=user_id, key=uuid4().hex, now=now)


def add_station(
    session: Session, now: datetime, code: str = "A", slots: int = 4, *, online: bool = True, **spec: Any
) -> Station:
    """A station that is connected and was heard from just now."""
    place = {"latitude": 47.37, "longitude": 8.54, "name": f"Station {code}"}
    station = create_station(session, StationSpec(code=code, slots=slots, **{**place, **spec}), now)
    station.online, station.last_heard_at = online, now
    session.flush()
    return station


def add_banks(session: Session, now: datetime, serials: Iterable[str]) -> None:
    add_power_banks(session, serials, now)


def add_tariff(session: Session, now: datetime, **changes: Any) -> Tariff:
    """1.00 to unlock, 0.50 per 30 minutes, nothing free, at most 10.00 a day and 30.00 in all; 5.00 held."""
    values: dict[str, Any] = {
        "name": "tests",
        "currency": "EUR",
        "unlock_minor": 100,
        "free_period": timedelta(0),
        "interval_minor": 50,
        "interval_length": timedelta(minutes=30),
        "daily_cap_minor": 1000,
        "total_cap_minor": 3000,
        "hold_minor": 500,
        "overdue_after": timedelta(days=1),
        "valid_from": now - timedelta(days=365),
    }
    tariff = Tariff(**{**values, **changes})
    session.add(tariff)
    session.flush()
    return tariff
