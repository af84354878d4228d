"""What riders and operators ask of rentals. Station codes and serials come with them (`station_out`, `power_bank`)."""

from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy import Select, Uuid, bindparam, select
from sqlalchemy.orm import Session, aliased, joinedload

from fleet.common.plans import PLANNED
from fleet.common.prepared import Prepared
from fleet.rentals.agreement import price_at, terms_of
from fleet.rentals.errors import RentalNotFound
from fleet.rentals.models import OPEN_STATES, PayMode, Rental, RentalState
from fleet.rentals.pricing.price import Price, PriceLine, recorded
from fleet.stations.models import PowerBank, Station


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A rental as its rider is shown it: a row, with the codes of its stations and the serial of its bank."""

    id: UUID
    user_id: UUID
    state: RentalState
    station_out_id: int
    station_out: str
    slot_out: int
    station_in: str | None = None
    slot_in: int | None = None
    power_bank_id: int
    power_bank: str
    charge_out_pct: int | None
    charge_in_pct: int | None = None
    requested_at: datetime
    eject_attempts: int = 1
    started_at: datetime | None = None
    ended_at: datetime | None = None
    closed_at: datetime | None = None
    overdue_at: datetime | None = None
    buyout_at: datetime | None = None
    swap_id: UUID | None = None
    paused: list[Any]
    prepaid: list[Any]
    pay: PayMode
    currency: str
    price_minor: int | None = None
    charged_minor: int = 0
    due_minor: int = 0
    written_off_minor: int = 0
    failure_code: str | None = None
    request_id: str | None = None

    @classmethod
    def of(cls, rental: Rental) -> Self:
        """`rental` with its stations and its bank loaded."""
        there = None if rental.station_in is None else rental.station_in.code
        return cls(
            station_out=rental.station_out.code,
            station_in=there,
            power_bank=rental.power_bank.serial,
            **{name: getattr(rental, name) for name in _PLAIN},
        )


_FIELDS: Final = tuple(field.name for field in fields(Shown))
_PLAIN: Final = tuple(name for name in _FIELDS if name not in {"station_out", "station_in", "power_bank"})
#: What has to be said of one that has just begun; the rest is as the columns' defaults are.
NEW: Final = (
    "id", "user_id", "state", "station_out_id", "slot_out", "power_bank_id", "charge_out_pct", "requested_at", "paused",
    "prepaid", "pay", "currency", "request_id",
)  # fmt: skip


def _rentals() -> Select[Rental]:
    return (
        select(Rental)
        .options(joinedload(Rental.station_out), joinedload(Rental.station_in), joinedload(Rental.power_bank))
        .execution_options(populate_existing=True)
    )


@cache
def _of_rider() -> Select[Rental]:
    """Built once: every app asks it again and again."""
    asked = (Rental.id == bindparam("rental_id", type_=Uuid()), Rental.user_id == bindparam("user_id", type_=Uuid()))
    return _rentals().where(*asked).execution_options(**PLANNED)


def rental_of(session: Session, user_id: UUID, rental_id: UUID) -> Rental:
    """Raises RentalNotFound, also when it is another rider's."""
    rental = session.scalars(_of_rider(), {"rental_id": rental_id, "user_id": user_id}).one_or_none()
    if rental is None:
        raise RentalNotFound("no such rental", rental_id=rental_id)
    return rental


@cache
def _shown() -> Prepared:
    out, back = aliased(Station), aliased(Station)
    columns = {
        **{name: getattr(Rental, name) for name in _PLAIN},
        "station_out": out.code, "station_in": back.code, "power_bank": PowerBank.serial,
    }  # fmt: skip
    query = (
        select(*(columns[name].label(name) for name in _FIELDS))
        .join(out, Rental.station_out_id == out.id)
        .outerjoin(back, Rental.station_in_id == back.id)
        .join(PowerBank, Rental.power_bank_id == PowerBank.id)
        .where(
            Rental.id == bindparam("rental_id", type_=Uuid()), Rental.user_id == bindparam("of_user_id", type_=Uuid())
        )
    )
    return Prepared(query, planned=True)


def shown(session: Session, user_id: UUID, rental_id: UUID) -> Shown:
    """`rental_of` for who only shows it: nothing of it stays in the session. Raises RentalNotFound."""
    rows = _shown().all(session, rental_id=rental_id, of_user_id=user_id)
    if not rows:
        raise RentalNotFound("no such rental", rental_id=rental_id)
    values = rows[0]._asdict()
    values["state"], values["pay"] = RentalState(values["state"]), PayMode(values["pay"])
    return Shown(**values)


def rental_by_id(session: Session, rental_id: UUID) -> Rental:
    """For operators. Raises RentalNotFound."""
    rental = session.scalars(_rentals().where(Rental.id == rental_id)).one_or_none()
    if rental is None:
        raise RentalNotFound("no such rental", rental_id=rental_id)
    return rental


def current(session: Session, user_id: UUID) -> list[Rental]:
    """The rider's open rentals, oldest first."""
    query = _rentals().where(Rental.user_id == user_id, Rental.state.in_(OPEN_STATES)).order_by(Rental.id)
    return list(session.scalars(query))


def history(
    session: Session,
    user_id: UUID,
    limit: int,
    before: UUID | None = None,
    *,
    state: RentalState | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Rental]:
    """The rider's rentals, newest first, open ones too; `before` is the id of the last one seen.

    `since`, `until`: those that were asked for from then, and before then.
    """
    return find_rentals(session, limit=limit, before=before, user_id=user_id, state=state, since=since, until=until)


def find_rentals(
    session: Session,
    *,
    limit: int,
    before: UUID | None = None,
    user_id: UUID | None = None,
    state: RentalState | None = None,
    station_id: int | None = None,
    power_bank_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Rental]:
    """Newest first. `station_id`: where the bank left."""
    query = _rentals().order_by(Rental.id.desc()).limit(limit)
    for column, value in (
        (Rental.user_id, user_id),
        (Rental.state, state),
        (Rental.station_out_id, station_id),
        (Rental.power_bank_id, power_bank_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(Rental.id < before)
    if since is not None:
        query = query.where(Rental.requested_at >= since)
    if until is not None:
        query = query.where(Rental.requested_at < until)
    return list(session.scalars(query))


def price_now(rental: Rental, now: datetime) -> Price:
    """The final price of a closed rental; of an open one, what it would cost if the bank came back now."""
    if rental.price_minor is None:
        return price_at(rental, rental.closed_at or now)
    lines = tuple(PriceLine(**line) for line in rental.price_lines or [])
    return recorded(terms_of(rental), rental.price_minor, lines)
