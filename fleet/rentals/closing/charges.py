"""What becomes of a rental's money: charged once, and only ever less from then on. Locked by the caller."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments import holds, rental_payments
from fleet.payments.debts import service as debts
from fleet.payments.invoices import TEXT_MAX, Bill, Line, issue
from fleet.payments.models import AccountKind
from fleet.rentals.agreement import terms_of
from fleet.rentals.models import Rental
from fleet.rentals.pricing import subscribed
from fleet.rentals.pricing.price import LineKind, Price, PriceLine, recorded

TOO_LONG = "the time with the bank was shorter than was thought"


def _parts(result: Price, *, bought: bool) -> list[tuple[AccountKind, Money]]:
    """Without tax what is the house's, and the tax, which is not."""
    net = result.total_minor - result.tax_minor
    own = (
        {AccountKind.BUYOUT_REVENUE: net}
        if bought
        else {AccountKind.UNLOCK_FEES: result.unlock_minor, AccountKind.REVENUE: result.usage_minor}
    )
    parts = {**own, AccountKind.TAX: result.tax_minor}
    return [(kind, Money(amount, result.currency)) for kind, amount in parts.items() if amount > 0]


def _lines(result: Price) -> list[object]:
    return [asdict(line) for line in result.lines]


def rewrite(rental: Rental, result: Price) -> None:
    """The same price in other words."""
    assert rental.price_minor == result.total_minor
    rental.price_lines = _lines(result)


def charge(session: Session, rental: Rental, result: Price, now: datetime, *, bought: bool = False) -> None:
    """Take what it costs from what is held, the rest becomes a debt; with an invoice. `bought`: the bank is too."""
    if result.total_minor:
        captured = holds.capture_for_rental(
            session,
            hold_id=rental.hold_transfer_id,
            rental_id=rental.id,
            user_id=rental.user_id,
            parts=_parts(result, bought=bought),
            now=now,
            points_max_minor=rental.points_max_minor,
        )
        rental.charged_minor, rental.due_minor = captured.charged_minor, captured.due_minor
        if captured.due_minor:
            owed = Money(captured.due_minor, result.currency)
            debts.incur(session, user_id=rental.user_id, rental_id=rental.id, money=owed, now=now)
    else:
        holds.release_holds(session, rental.id, now)
    subscribed.settle(session, rental, result, now)
    settle_card(session, rental, rental.due_minor, now)
    rental.price_minor, rental.price_lines = result.total_minor, _lines(result)
    issue(session, _bill(rental, result), now)


def settle_card(session: Session, rental: Rental, owed_minor: int, now: datetime) -> None:
    """The card pays what the wallet lacks: as soon as it is taken, it is collected as a debt is."""
    if rental.intent_id is not None:
        rental_payments.settle(session, rental.id, owed_minor, now)


def _bill(rental: Rental, result: Price) -> Bill:
    tax = terms_of(rental).tax
    return Bill(
        user_id=rental.user_id,
        rental_id=rental.id,
        currency=result.currency,
        total_minor=result.total_minor,
        tax_minor=result.tax_minor,
        tax_name=tax.name,
        tax_bp=tax.basis_points,
        lines=[Line(line.kind, line.text, line.amount_minor) for line in result.lines],
    )


def reduce_price(session: Session, rental: Rental, by_minor: int, *, text: str, key: str, now: datetime) -> None:
    """A person decided that a closed rental costs so much less (minor units, at most its price); once per `key`.

    What is owed is owed no more, then what was paid comes back. `text` explains the line, on the invoice too.
    """
    total, text = (rental.price_minor or 0) - by_minor, text[:TEXT_MAX]
    lines = (*(PriceLine(**line) for line in rental.price_lines or []), PriceLine(LineKind.REFUND, text, -by_minor))
    cheaper(session, rental, recorded(terms_of(rental), total, lines), key, now, reason=text)


def cheaper(
    session: Session, rental: Rental, result: Price, key: str, now: datetime, *, reason: str = TOO_LONG
) -> None:
    """A closed rental only ever becomes cheaper: first what is owed is owed no more, then what was given up was never
    owed, then what was paid comes back.
    """
    too_much = (rental.price_minor or 0) - result.total_minor
    if result.applied or result.total_minor == 0:  # else a person's word, which says nothing about the time
        subscribed.settle(session, rental, result, now)
    if too_much <= 0:
        return
    rental.price_minor, rental.price_lines = result.total_minor, _lines(result)
    issue(session, _bill(rental, result), now, reason)
    owed = given_up = 0
    if rental.due_minor or rental.written_off_minor:
        owed, given_up = debts.reduce(session, rental.id, too_much, now)
        rental.due_minor -= owed
        rental.written_off_minor -= given_up
    refund = too_much - owed - given_up
    # An operator may have given some of it back already; a fact must not fail for that.
    charged = holds.charged_for(session, rental.id)
    refund = min(refund, charged - holds.refunded_for(session, rental.id))
    if refund > 0:
        holds.refund_rental(
            session,
            rental_id=rental.id,
            money=Money(refund, rental.currency),
            reason=reason,
            # The price falls with every correction, and rises only with what is charged: a key of its own for each.
            key=f"{key}:{result.total_minor}:{charged}",
            now=now,
        )
        rental.charged_minor -= refund
