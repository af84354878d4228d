"""What a rider gets in the hand after a rental: what it cost, why, and what was paid."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments.holds import paid_by, refunded_for
from fleet.payments.invoices import invoices_of_rental
from fleet.payments.models import AccountKind, InvoiceKind
from fleet.payments.outgoing.queries import card_kept
from fleet.rentals.agreement import paused_of, terms_of
from fleet.rentals.closing.completion import BROUGHT_BACK, END_CORRECTED
from fleet.rentals.errors import RentalNotClosed
from fleet.rentals.models import Rental, RentalEvent
from fleet.rentals.pricing.meter import used
from fleet.rentals.pricing.price import PriceLine
from fleet.rentals.queries import price_now, rental_of


@dataclass(frozen=True, slots=True)
class Stop:
    """A station at which the bank left or came back."""

    code: str
    name: str
    address: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Receipt:
    """The lines add up to the total, which contains the tax; total = paid + credited + due + written off. `paid` is
    what is left of payments after all that came back. Minor units of `currency`.
    """

    rental_id: UUID
    issuer: str
    #: Of the rental's invoice and its corrections; none: it cost nothing.
    invoice_numbers: tuple[int, ...]
    issued_at: datetime
    power_bank: str
    taken: Stop
    #: None: the bank was not brought back.
    returned: Stop | None
    #: When its clock stopped: before it was back, if it counted as bought or lost until then.
    charged_until: datetime
    duration: timedelta
    paused: timedelta
    time_zone: str
    currency: str
    lines: tuple[PriceLine, ...]
    total_minor: int
    tax_minor: int
    #: Name and rate; None without tax.
    tax_label: str | None
    #: What came back although the price is right, and why.
    credited_minor: int
    credit_reasons: tuple[str, ...]
    paid_minor: int
    #: All that ever came back, whether the price fell or not.
    refunded_minor: int
    due_minor: int
    #: What of it nobody asks for any more.
    written_off_minor: int
    #: What paid it, less what came back: points, wallet, card.
    paid_by: tuple[tuple[str, int], ...]

    def money(self, amount_minor: int) -> Money:
        return Money(amount_minor, self.currency)


def receipt(session: Session, user_id: UUID, rental_id: UUID, *, issuer: str, now: datetime) -> Receipt:
    """Raises RentalNotFound, RentalNotClosed (its price is not known yet, or there was no bank)."""
    rental = rental_of(session, user_id, rental_id)
    if rental.price_minor is None or rental.started_at is None or rental.ended_at is None:
        raise RentalNotClosed(f"the rental is {rental.state}", rental_id=rental_id, state=rental.state)
    price, tax = price_now(rental, now), terms_of(rental).tax
    told = invoices_of_rental(session, rental_id, user_id)
    credits_ = [each for each in told if each.kind is InvoiceKind.CREDIT]
    purses = _paid_by(session, rental_id)
    duration = rental.ended_at - rental.started_at
    return Receipt(
        rental_id=rental_id,
        issuer=issuer,
        invoice_numbers=tuple(each.number for each in told),
        issued_at=told[-1].issued_at if told else rental.closed_at or rental.ended_at,
        power_bank=rental.power_bank.serial,
        taken=Stop(rental.station_out.code, rental.station_out.name, rental.station_out.address, rental.started_at),
        returned=_returned(session, rental, rental.ended_at),
        charged_until=rental.ended_at,
        duration=duration,
        paused=duration - used(rental.started_at, rental.ended_at, paused_of(rental)),
        time_zone=rental.time_zone,
        currency=rental.currency,
        lines=price.lines,
        total_minor=price.total_minor,
        tax_minor=price.tax_minor,
        tax_label=tax.label if tax.basis_points else None,
        credited_minor=-sum(each.total_minor for each in credits_),
        credit_reasons=tuple(each.reason for each in credits_ if each.reason is not None and each.total_minor < 0),
        paid_minor=sum(minor for _, minor in purses),
        refunded_minor=refunded_for(session, rental_id),
        due_minor=rental.due_minor,
        written_off_minor=rental.written_off_minor,
        paid_by=purses,
    )


def _paid_by(session: Session, rental_id: UUID) -> tuple[tuple[str, int], ...]:
    """A card's money passes the wallet: of what that paid, so much is the card's."""
    kept = paid_by(session, rental_id)
    wallet = kept.get(AccountKind.WALLET, 0)
    card = min(wallet, card_kept(session, rental_id))
    told = (("points", kept.get(AccountKind.BONUS, 0)), ("wallet", wallet - card), ("card", card))
    return tuple((purse, minor) for purse, minor in told if minor)


def _returned(session: Session, rental: Rental, ended_at: datetime) -> Stop | None:
    station = rental.station_in
    if station is None:
        return None
    told = select(RentalEvent).where(
        RentalEvent.rental_id == rental.id, RentalEvent.why.in_((BROUGHT_BACK, END_CORRECTED))
    )
    last = session.scalars(told.order_by(RentalEvent.id.desc()).limit(1)).one_or_none()
    at = last.at if last is not None and last.why == BROUGHT_BACK else ended_at
    return Stop(station.code, station.name, station.address, at)
