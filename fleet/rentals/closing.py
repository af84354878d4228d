"""How a rental ends, and what becomes of its money. The wallet, the rental and its command are locked by the caller."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments import holds
from fleet.payments.models import AccountKind
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.price import Price, TariffTerms, cap_reached_at, free_of_charge, price
from fleet.rentals.states import Evidence, move, note, unreserve
from fleet.stations.models import StationSlot

NOT_TAKEN = "not_taken"


def terms_of(rental: Rental) -> TariffTerms:
    return TariffTerms.from_json(rental.terms)


def price_at(rental: Rental, at: datetime) -> Price:
    """What an open rental would cost if the bank came back at `at`."""
    terms = terms_of(rental)
    if rental.started_at is None:
        return free_of_charge(terms, "not_started", "The bank has not left yet")
    return price(terms, rental.started_at, max(at, rental.started_at), time_zone=rental.time_zone)


def set_start(rental: Rental, at: datetime, *, certain: bool) -> None:
    """When the bank left, and what follows from it."""
    terms = terms_of(rental)
    rental.started_at, rental.start_certain = at, certain
    rental.overdue_at = at + terms.overdue_after
    rental.buyout_at = cap_reached_at(terms, at, rental.time_zone)


def complete(
    session: Session,
    rental: Rental,
    *,
    ended_at: datetime,
    slot: StationSlot,
    charge_pct: int | None,
    why: str,
    evidence: Evidence,
    now: datetime,
) -> None:
    """The bank is back in `slot` since `ended_at`, which is brought between the start and now: charge for the time."""
    assert rental.started_at is not None
    rental.ended_at = max(rental.started_at, min(ended_at, now))
    rental.station_in_id, rental.slot_in, rental.charge_in_pct = slot.station_id, slot.number, charge_pct
    if why == NOT_TAKEN:
        result = free_of_charge(terms_of(rental), NOT_TAKEN, "The bank was not taken: free of charge")
        rental.failure_code = NOT_TAKEN
    else:
        result = price_at(rental, rental.ended_at)
    _charge(session, rental, result, _parts(result), now)
    move(session, rental, RentalState.COMPLETED, why=why, evidence=evidence, at=rental.ended_at, now=now)


def buy_out(session: Session, rental: Rental, *, evidence: Evidence, now: datetime) -> None:
    """The price has reached the total cap: the bank is paid for, and is the rider's."""
    assert rental.buyout_at is not None
    rental.ended_at = rental.buyout_at
    result = price_at(rental, rental.buyout_at)
    _charge(session, rental, result, [(AccountKind.BUYOUT_REVENUE, result.total)], now)
    move(session, rental, RentalState.BOUGHT_OUT, why="total_cap", evidence=evidence, at=rental.buyout_at, now=now)


def give_up(
    session: Session,
    rental: Rental,
    *,
    to: RentalState,
    why: str,
    code: str | None,
    evidence: Evidence,
    at: datetime,
    now: datetime,
) -> None:
    """Nothing left the cabinet, as far as is known: hold released, slot free. `to` is one of rules.FAILED."""
    holds.release_hold(session, rental.hold_transfer_id, now)
    rental.failure_code = None if code is None else code[:64]
    unreserve(session, rental)
    move(session, rental, to, why=why, evidence=evidence, at=at, now=now)


def correct_start(session: Session, rental: Rental, at: datetime, *, evidence: Evidence, now: datetime) -> None:
    """The cabinet told when the bank left after that had been deduced. What was overcharged is given back."""
    before = rental.started_at
    assert before is not None
    at = max(at, rental.requested_at) if rental.ended_at is None else min(max(at, rental.requested_at), rental.ended_at)
    set_start(rental, at, certain=True)
    # A closed rental only ever becomes cheaper; one that was free stays free.
    if rental.price_minor is not None and rental.state is RentalState.COMPLETED and rental.ended_at is not None:
        cheaper = price_at(rental, rental.ended_at)
        if cheaper.total_minor < rental.price_minor:
            _give_back(session, rental, rental.price_minor - cheaper.total_minor, now)
            rental.price_minor, rental.price_lines = cheaper.total_minor, _lines(cheaper)
    note(
        session,
        rental,
        rental.state,
        why="start_corrected",
        evidence={**evidence, "before": before.isoformat()},
        at=at,
        now=now,
    )


def _parts(result: Price) -> list[tuple[AccountKind, Money]]:
    parts = [
        (AccountKind.UNLOCK_FEES, Money(result.unlock_minor, result.currency)),
        (AccountKind.REVENUE, Money(result.usage_minor, result.currency)),
    ]
    return [(kind, money) for kind, money in parts if money.amount_minor > 0]


def _lines(result: Price) -> list[object]:
    return [asdict(line) for line in result.lines]


def _charge(
    session: Session, rental: Rental, result: Price, parts: list[tuple[AccountKind, Money]], now: datetime
) -> None:
    rental.price_minor, rental.price_lines = result.total_minor, _lines(result)
    if not result.total_minor:
        holds.release_hold(session, rental.hold_transfer_id, now)
        return
    captured = holds.capture_for_rental(
        session,
        hold_id=rental.hold_transfer_id,
        rental_id=rental.id,
        user_id=rental.user_id,
        parts=parts,
        now=now,
    )
    rental.charged_minor, rental.due_minor = captured.charged_minor, captured.due_minor


def _give_back(session: Session, rental: Rental, amount_minor: int, now: datetime) -> None:
    """First what is owed is owed no more, then what was paid comes back."""
    forgiven = min(rental.due_minor, amount_minor)
    rental.due_minor -= forgiven
    refund = amount_minor - forgiven
    if refund > 0:
        holds.refund_rental(
            session,
            rental_id=rental.id,
            money=Money(refund, rental.currency),
            reason="the bank left later than was thought",
            key="start_corrected",
            now=now,
        )
        rental.charged_minor -= refund
