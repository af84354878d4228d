"""What a start has to know of the rider, the station, the money and the request: one message to PostgreSQL.

Locks that nobody looks at go in front of the question, in the same message: what it finds is newer than they are.
Decision 0330.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, String, Uuid, and_, bindparam, func, literal_column, select, text, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from fleet.common import idempotency
from fleet.common.idempotency import Claim, StoredAnswer
from fleet.common.models import IdempotencyKey
from fleet.common.prepared import Prepared, table_of
from fleet.db import UtcDateTime
from fleet.payments import ledger
from fleet.payments.models import AccountKind, LedgerAccount
from fleet.payments.wallets import Purse, house_of, is_locked, lock_wallets_later, purse_of
from fleet.rentals.models import IS_OPEN, Rental
from fleet.rentals.starts.models import Reservation, ReservationState
from fleet.rentals.tariffs.queries import InForce, best_for, in_force
from fleet.stations.models import Station, StationStatus
from fleet.subscriptions import benefits
from fleet.users.errors import TokenRefused
from fleet.users.models import User, UserSession, UserStatus
from fleet.users.tokens import AccessClaims, let_in


@dataclass(frozen=True, slots=True)
class Standing:
    """A rider as a start sees them. `owed`: minor units of earlier rentals by currency."""

    status: UserStatus | None
    places_taken: frozenset[int]
    owed: Mapping[str, int]
    #: A bank is kept for the rider.
    reservation_id: UUID | None = None
    subscribed: bool = False
    #: Without an account.
    guest: bool = False


@dataclass(frozen=True, slots=True)
class Renting:
    """A station as a start sees it."""

    id: int
    code: str
    status: StationStatus
    online: bool
    last_heard_at: datetime | None
    heartbeat_s: int
    silent_after_s: float | None
    time_zone: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to start: who says they are the rider, and the key under which it is answered once."""

    claims: AccessClaims
    claim: Claim


@dataclass(frozen=True, slots=True)
class Known:
    """`station`, `tariff`: None where there is none. `purse`: locked; None: the rider's first one in that currency has
    to be opened. `earlier`: what the request's key was answered before.
    """

    station: Renting | None
    tariff: InForce | None
    purse: Purse | None
    rider: Standing
    earlier: StoredAnswer | None = None


def standing_of(session: Session, user_id: UUID) -> Standing:
    """One statement. Whoever starts a rental holds the lock of the wallet first."""
    rows = _STANDING.all(session, user_id=user_id)
    return _standing(rows[0]) if rows else Standing(None, frozenset(), {})


def look(
    session: Session,
    *,
    user_id: UUID,
    station_code: str,
    now: datetime,
    currency: str | None = None,
    asked: Asked | None = None,
) -> Known:
    """All of it, with the rider's wallets locked and the key claimed. `currency`: of the purse; None: the tariff's.

    Raises TokenRefused, UserSuspended, IdempotencyKeyReused, IdempotencyKeyInUse for what is `asked`.
    """
    if asked is not None:
        idempotency.claim_later(session, asked.claim, now)
    lock_wallets_later(session, user_id)
    (row,) = _statement().all(
        session,
        user_id=user_id,
        session_id=None if asked is None else asked.claims.session_id,
        code=station_code,
        now=now,
        currency=currency,
        of_scope=None if asked is None else asked.claim.scope,
        of_key=None if asked is None else asked.claim.key,
    )
    earlier = None if asked is None else _earlier(asked, row, now)
    tariff = in_force(row[_TARIFF:])
    currency = currency or (None if tariff is None else tariff.terms.currency)
    purse = None if currency is None else purse_of(row.account_id, row.available, currency, row.house)
    return Known(_station(row), tariff, purse, _standing(row), earlier)


def _earlier(asked: Asked, row: Any, now: datetime) -> StoredAnswer | None:
    if row.status is None or row.session_of is None:
        raise TokenRefused("sign in again")
    status = UserStatus(row.status)
    let_in(asked.claims, now, status=status, valid_from=row.tokens_valid_from, revoked_at=row.revoked_at)
    return idempotency.earlier_answer(asked.claim, row)


def _standing(row: Any) -> Standing:
    return Standing(
        None if row.status is None else UserStatus(row.status), frozenset(row.places or ()), row.owed or {},
        row.reservation_id, bool(row.subscribed), bool(row.guest),
    )  # fmt: skip


def _station(row: Any) -> Renting | None:
    if row.station_id is None:
        return None
    return Renting(
        row.station_id, row.code, StationStatus(row.station_status), row.online, row.last_heard_at, row.heartbeat_s,
        row.silent_after_s, row.time_zone,
    )  # fmt: skip


_USER_ID: Final = bindparam("user_id", type_=Uuid())


def _of_rider() -> tuple[Any, ...]:
    """What `_standing` reads, of the user that is selected from."""
    # In the words of the index that finds them, also in a plan for all values.
    open_places = select(func.array_agg(Rental.open_place)).where(Rental.user_id == _USER_ID, text(IS_OPEN))
    due = (
        select(Rental.currency, func.sum(Rental.due_minor).label("due"))
        .where(Rental.user_id == _USER_ID, Rental.due_minor > 0)
        .group_by(Rental.currency)
        .subquery()
    )
    owed = select(func.jsonb_object_agg(due.c.currency, due.c.due, type_=JSONB)).select_from(due)
    kept = select(Reservation.id).where(Reservation.user_id == _USER_ID, Reservation.state == ReservationState.ACTIVE)
    return (
        User.status, User.guest, open_places.scalar_subquery().label("places"), owed.scalar_subquery().label("owed"),
        kept.scalar_subquery().label("reservation_id"), benefits.subscribed(_USER_ID).label("subscribed"),
    )  # fmt: skip


def _of_station() -> tuple[Any, ...]:
    """What `_station` reads."""
    return (
        Station.id.label("station_id"), Station.code, Station.status.label("station_status"), Station.online,
        Station.last_heard_at, Station.heartbeat_s, Station.silent_after_s, Station.time_zone,
    )  # fmt: skip


def _everything() -> Select[*tuple[Any, ...]]:
    """One row, whatever there is or is not; the tariff's columns are the last ones."""
    here = {
        "station_id": Station.id, "venue_id": Station.venue_id, "city": Station.city, "country": Station.country
    }  # fmt: skip
    tariff = best_for(here, bindparam("now", type_=UtcDateTime())).correlate(Station).lateral("tariff")
    currency = func.coalesce(bindparam("currency", type_=String()), tariff.c.currency)
    wallet = (
        LedgerAccount.owner_id == _USER_ID,
        LedgerAccount.kind == AccountKind.WALLET,
        LedgerAccount.currency == currency,
        is_locked(),
    )
    signed_in = (UserSession.id == bindparam("session_id", type_=Uuid()), UserSession.user_id == User.id)
    one = select(literal_column("1").label("one")).subquery("one")
    return (
        select(
            *_of_rider(), User.tokens_valid_from, UserSession.user_id.label("session_of"), UserSession.revoked_at,
            *_of_station(), LedgerAccount.id.label("account_id"), ledger.available_minor().label("available"),
            house_of(currency).label("house"), *idempotency.columns(), *tariff.c,
        )
        .select_from(one)
        .outerjoin(User, User.id == _USER_ID)
        .outerjoin(UserSession, and_(*signed_in))
        .outerjoin(Station, Station.code == bindparam("code", type_=String()))
        .outerjoin(tariff, true())
        .outerjoin(LedgerAccount, and_(*wallet))
        .outerjoin(table_of(IdempotencyKey), idempotency.of_key())
    )  # fmt: skip


@cache
def _statement() -> Prepared:
    return Prepared(_everything(), planned=True)


_STANDING: Final = Prepared(select(*_of_rider()).where(User.id == _USER_ID), planned=True)
#: Where the tariff's columns begin in `_everything`.
_TARIFF: Final = len(_of_rider()) + 3 + len(_of_station()) + 3 + len(idempotency.columns())
