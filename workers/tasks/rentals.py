from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.clock import utc_now
from fleet.payments.providers import provider_from
from fleet.rentals.cases import anomalies
from fleet.rentals.closing import guests
from fleet.rentals.closing.dues import collect_by_card
from fleet.rentals.closing.dues import collect_dues as collect
from fleet.rentals.corrections import chargebacks
from fleet.rentals.pricing import subscribed
from fleet.rentals.queries import rental_by_id
from fleet.rentals.rules import RentalPolicy
from fleet.rentals.starts import by_card
from fleet.rentals.starts.reservations import sweep_reservations
from fleet.rentals.underway import deadlines, locations, photos
from fleet.rentals.underway.reminders import sweep_reminders
from fleet.rentals.underway.swaps import sweep_swaps
from workers.consumers import consumer
from workers.context import engine, settings, transaction
from workers.policies import NEXT_TICK
from workers.task import task


@consumer("rentals.collect_dues")
def collect_dues(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """Money has come in: what the rider owes is paid first, and what a guest does not owe goes back."""
    user_id = UUID(payload["user_id"])
    collect(session, user_id, now)
    guests.give_back(session, user_id, now)


@consumer("rentals.give_back_to_guest")
def give_back_to_guest(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """A rental was refunded: a guest's money goes on to the card."""
    guests.give_back(session, rental_by_id(session, UUID(payload["rental_id"])).user_id, now)


@consumer("rentals.give_minutes_back")
def give_minutes_back(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """A rental was refunded: a subscription's free minutes are free again when all of it was."""
    subscribed.refunded(session, UUID(payload["rental_id"]), now)


@task("rentals.collect_debts", NEXT_TICK)
def collect_debts() -> int:
    """Debts whose next try with the rider's saved card is due; how many cards were asked."""
    return collect_by_card(transaction, provider_from(settings(), engine()), utc_now())


@consumer("rentals.start_paid")
def start_paid(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """The card's money for a rental is set aside: the cabinet is asked."""
    by_card.start_paid(session, UUID(payload["intent_id"]), now, RentalPolicy.from_settings(settings()))


@consumer("rentals.follow_chargeback")
def follow_chargeback(session: Session, payload: dict[str, Any], now: datetime) -> None:
    """A rider's bank took a payment back, or has decided about it: the rental says so."""
    if payload["rental_id"] is not None:
        chargebacks.follow(session, UUID(payload["rental_id"]), now)


@task("rentals.sweep_commands", NEXT_TICK)
def sweep_commands() -> int:
    """Commands whose deadline passed without an answer."""
    with transaction() as session:
        return deadlines.sweep_commands(session, utc_now(), RentalPolicy.from_settings(settings()))


@task("rentals.expire_reservations", NEXT_TICK)
def expire_reservations() -> int:
    """Banks that nobody fetched in time."""
    with transaction() as session:
        return sweep_reservations(session, utc_now(), RentalPolicy.from_settings(settings()))


@task("rentals.expire_swaps", NEXT_TICK)
def expire_swaps() -> int:
    """Banks that riders meant to exchange, and did not put back in time."""
    with transaction() as session:
        return sweep_swaps(session, utc_now())


@task("rentals.remind", NEXT_TICK)
def remind() -> int:
    """Rentals that are due soon."""
    with transaction() as session:
        return sweep_reminders(session, utc_now(), RentalPolicy.from_settings(settings()))


@task("rentals.sweep_rentals", NEXT_TICK)
def sweep_rentals() -> int:
    """Ejects nobody can verify, rentals that become overdue, banks that are kept."""
    with transaction() as session:
        return deadlines.sweep_rentals(session, utc_now(), RentalPolicy.from_settings(settings()))


@task("rentals.find_anomalies", NEXT_TICK)
def find_anomalies() -> int:
    """Rentals that last for days, and banks that nobody has. Returns how many alerts opened or closed."""
    with transaction() as session:
        done = anomalies.sweep(session, utc_now())
        return done.opened + done.closed


@task("rentals.forget_locations", NEXT_TICK)
def forget_locations() -> int:
    """Positions that riders shared, once they are old."""
    with transaction() as session:
        return locations.forget(session, utc_now(), timedelta(days=settings().location_days))


@task("rentals.forget_photos", NEXT_TICK)
def forget_photos() -> int:
    """Photos that riders sent with claims, once they are old."""
    with transaction() as session:
        return photos.forget(session, utc_now(), timedelta(days=settings().photo_days))
