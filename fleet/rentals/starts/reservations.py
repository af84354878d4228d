"""A bank is kept for a rider who is on the way (decision 0142).

Whoever changes a reservation holds the lock of its rider's wallet first, then the reservation, then the slot.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from psycopg2.errors import UniqueViolation
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from fleet.common.money import Money
from fleet.common.notify import Channel, notify
from fleet.db import new_id
from fleet.payments.models import AccountKind, LedgerAccount, LedgerTransfer
from fleet.payments.reservation_fees import Fee, charge_fee, hold_fee, release_fee
from fleet.payments.wallets import lock_points
from fleet.rentals.errors import (
    AlreadyReserved,
    NoBankAvailable,
    ReservationNotFound,
    ReservationOver,
    ReservedLately,
    StationNotRenting,
    StationOffline,
)
from fleet.rentals.pricing.terms import TaxTerms
from fleet.rentals.queries import Shown
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import checks
from fleet.rentals.starts.choices import choose
from fleet.rentals.starts.models import Reservation, ReservationState
from fleet.rentals.starts.payment_plans import Purses
from fleet.rentals.starts.queries import Renting
from fleet.stations.availability import keep_for
from fleet.stations.models import Station, StationSlot

_BATCH = 50


def reserve(
    session: Session,
    *,
    user_id: UUID,
    station_code: str,
    slot: int | None,
    now: datetime,
    policy: RentalPolicy,
    with_points: bool = False,
) -> Reservation:
    """Keep the station's best bank, or that in `slot`, for `policy.reservation`; the tariff's fee is held, on the
    wallet or on the points.

    Who could not start a rental cannot reserve either. Raises what `service.start` raises, and AlreadyReserved,
    ReservedLately.
    """
    admitted = checks.admit(session, user_id=user_id, station_code=station_code, policy=policy, now=now)
    station, terms, kept = admitted.station, admitted.tariff.terms, admitted.rider.reservation_id
    if kept is not None:
        raise AlreadyReserved("a bank is kept for you already", reservation_id=kept)
    _not_again(session, user_id, station, policy, now)
    offer = choose(session, station, slot, policy=policy, now=now)
    fee = terms.reservation_fee_minor + terms.tax.on_top_of(terms.reservation_fee_minor)
    reservation = Reservation(
        id=new_id(), user_id=user_id, station_id=station.id, slot_number=offer.number, power_bank_id=offer.bank_id,
        expires_at=now + policy.reservation, fee_minor=fee, currency=terms.currency, tax_name=terms.tax.name,
        tax_bp=terms.tax.basis_points, created_at=now,
    )  # fmt: skip
    if fee:
        purse = lock_points(session, user_id, admitted.purse, now) if with_points else admitted.purse
        reservation.hold_transfer_id = hold_fee(session, purse, reservation.id, terms.money(fee), now).id
    keep_for(session, offer, reservation.id)
    _keep(session, reservation, station)
    notify(session, Channel.STATION, str(station.id))
    session.flush()  # the answer is read back
    return reservation_of(session, user_id, reservation.id)


def _keep(session: Session, reservation: Reservation, station: Renting) -> None:
    """A bank that somebody has carried out of the slot where it was kept for another rider is that rider's still, for
    the few minutes that are left: one reservation a bank, whatever slot it is in. Raises NoBankAvailable.
    """
    try:
        with session.begin_nested():
            session.add(reservation)
    except IntegrityError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        raise NoBankAvailable(f"station {station.code} has no charged bank to give", station=station.code) from None


def _not_again(session: Session, user_id: UUID, station: Renting, policy: RentalPolicy, now: datetime) -> None:
    """Nobody keeps a bank from others for ever by reserving it again and again."""
    lately = select(Reservation.ended_at).where(
        Reservation.user_id == user_id,
        Reservation.station_id == station.id,
        Reservation.state.in_((ReservationState.CANCELLED, ReservationState.EXPIRED)),
        Reservation.ended_at > now - policy.reservation,
    )
    ended = session.scalar(lately.order_by(Reservation.id.desc()).limit(1))
    if ended is not None:
        again = ended + policy.reservation
        raise ReservedLately("a bank was kept for you here just now", again_at=again.isoformat())


def reservation_of(session: Session, user_id: UUID, reservation_id: UUID) -> Reservation:
    """Station and bank loaded. Raises ReservationNotFound, also when it is another rider's."""
    query = (
        select(Reservation)
        .where(Reservation.id == reservation_id, Reservation.user_id == user_id)
        .options(joinedload(Reservation.station), joinedload(Reservation.power_bank))
        .execution_options(populate_existing=True)
    )
    reservation = session.scalars(query).one_or_none()
    if reservation is None:
        raise ReservationNotFound("no such reservation", reservation_id=reservation_id)
    return reservation


def current(session: Session, user_id: UUID) -> Reservation | None:
    """The bank that is kept for the rider now."""
    query = select(Reservation.id).where(Reservation.user_id == user_id, Reservation.state == ReservationState.ACTIVE)
    found = session.scalar(query)
    return None if found is None else reservation_of(session, user_id, found)


def cancel_reservation(session: Session, *, user_id: UUID, reservation_id: UUID, now: datetime) -> Reservation:
    """The bank is anybody's again, and nothing is charged. Again changes nothing.

    Raises ReservationNotFound, ReservationOver.
    """
    reservation_of(session, user_id, reservation_id)
    [(reservation, slot)] = _locked(session, [reservation_id])
    if reservation.state in {ReservationState.USED, ReservationState.EXPIRED}:
        raise ReservationOver(
            f"the reservation is {reservation.state}", reservation_id=reservation_id, state=reservation.state
        )
    if reservation.state is ReservationState.ACTIVE:
        if reservation.hold_transfer_id is not None:
            release_fee(session, reservation.hold_transfer_id, now)
        _end(session, reservation, slot, ReservationState.CANCELLED, now)
        session.flush()  # the answer is read back
    return reservation_of(session, user_id, reservation_id)


def free_fee(session: Session, reservation_id: UUID, station: Renting, purses: Purses, now: datetime) -> Purses:
    """A rental begins where a bank is kept for its rider: what was held for that is there for the rental.

    The caller has locked the wallet, and with it the reservation.
    """
    reservation = session.get_one(Reservation, reservation_id, populate_existing=True)
    if reservation.station_id != station.id or reservation.hold_transfer_id is None:
        return purses
    payer = session.get_one(LedgerTransfer, reservation.hold_transfer_id).debit_account_id
    release_fee(session, reservation.hold_transfer_id, now)
    reservation.hold_transfer_id = None
    return purses.with_more(payer, reservation.fee_minor)


def use(session: Session, reservation_id: UUID, rental: Shown, *, fetched: bool, now: datetime) -> None:
    """`fetched`: the rental got the bank that was kept. If it got another one of the station, the sweep frees the slot:
    a second slot of a station is never locked after the first. At other stations a reservation says nothing.
    """
    reservation = session.get_one(Reservation, reservation_id)
    if reservation.station_id != rental.station_out_id:
        return
    reservation.rental_id = rental.id
    if fetched:
        reservation.state, reservation.ended_at = ReservationState.USED, now
    else:
        reservation.expires_at = now


def sweep_reservations(session: Session, now: datetime, policy: RentalPolicy) -> int:
    """Those whose time is over: the bank is anybody's again, the fee is charged if it could have been fetched all the
    time. Returns how many.
    """
    due = select(Reservation.id).where(Reservation.state == ReservationState.ACTIVE, Reservation.expires_at <= now)
    ids = list(session.scalars(due.order_by(Reservation.expires_at).limit(_BATCH)))
    ended = 0
    for reservation, slot in _locked(session, ids) if ids else []:
        if reservation.state is ReservationState.ACTIVE and reservation.expires_at <= now:
            _expire(session, reservation, slot, policy, now)
            ended += 1
    session.flush()  # what the database refuses must fail here
    return ended


def _locked(session: Session, ids: Sequence[UUID]) -> list[tuple[Reservation, StationSlot | None]]:
    """As they are now, with the slots that are still kept for them; wallets first, slots last, each by id."""
    riders = select(Reservation.user_id).where(Reservation.id.in_(ids))
    wallets = (
        select(LedgerAccount.id)
        .where(LedgerAccount.owner_id.in_(riders), LedgerAccount.kind == AccountKind.WALLET)
        .order_by(LedgerAccount.id)
        .with_for_update(key_share=True)
    )
    session.execute(wallets).all()
    query = select(Reservation).where(Reservation.id.in_(ids)).order_by(Reservation.id).with_for_update(key_share=True)
    found = session.scalars(query.execution_options(populate_existing=True)).all()
    stations = {each.station_id for each in found}
    kept = (
        select(StationSlot)
        .where(StationSlot.station_id.in_(stations), StationSlot.reserved_for.in_(ids))
        .order_by(StationSlot.id)
        .with_for_update(key_share=True)
    )
    slots = {slot.reserved_for: slot for slot in session.scalars(kept.execution_options(populate_existing=True))}
    return [(each, slots.get(each.id)) for each in found]


def _expire(
    session: Session, reservation: Reservation, slot: StationSlot | None, policy: RentalPolicy, now: datetime
) -> None:
    if reservation.rental_id is not None:
        _end(session, reservation, slot, ReservationState.USED, now)
        return
    if reservation.hold_transfer_id is not None:
        if _could_be_fetched(session, reservation, slot, policy, now):
            charge_fee(session, reservation.hold_transfer_id, _fee(reservation), now)
            reservation.charged_minor = reservation.fee_minor
        else:
            release_fee(session, reservation.hold_transfer_id, now)
    _end(session, reservation, slot, ReservationState.EXPIRED, now)


def _could_be_fetched(
    session: Session, reservation: Reservation, slot: StationSlot | None, policy: RentalPolicy, now: datetime
) -> bool:
    """The bank is still in its slot, and its station gives banks and did so all the time."""
    station = session.get_one(Station, reservation.station_id, populate_existing=True)
    try:
        checks.check_station(station, policy, now)
    except (StationOffline, StationNotRenting):
        return False
    away_since = station.online_changed_at is not None and station.online_changed_at > reservation.created_at
    return slot is not None and slot.power_bank_id == reservation.power_bank_id and not away_since


def _fee(reservation: Reservation) -> Fee:
    money = Money(reservation.fee_minor, reservation.currency)
    tax = TaxTerms(reservation.tax_name, reservation.tax_bp).inside(reservation.fee_minor)
    return Fee(
        user_id=reservation.user_id,
        reservation_id=reservation.id,
        money=money,
        tax_minor=tax,
        tax_name=reservation.tax_name,
        tax_bp=reservation.tax_bp,
        text="Reserved, and not fetched",
    )


def _end(
    session: Session, reservation: Reservation, slot: StationSlot | None, state: ReservationState, now: datetime
) -> None:
    reservation.state, reservation.ended_at = state, now
    if slot is not None:
        slot.reserved_for = None
        notify(session, Channel.STATION, str(reservation.station_id))
