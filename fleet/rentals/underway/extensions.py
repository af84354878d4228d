"""A rider who has a package adds another one before its time is over (decision 0140)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments import holds
from fleet.payments.models import AccountKind
from fleet.payments.wallets import lock_points, lock_purse
from fleet.rentals.agreement import adjustments_of, prepaid_of, set_due, terms_of
from fleet.rentals.errors import NotExtendable
from fleet.rentals.locking import lock_rentals
from fleet.rentals.models import Rental, RentalState
from fleet.rentals.queries import rental_of
from fleet.rentals.starts.payment_plans import PaymentPlan, Purses
from fleet.rentals.starts.securities import set_aside
from fleet.rentals.states import note
from fleet.rentals.tariffs import packages
from fleet.rentals.tariffs.models import PackageKind, RentalPackage
from fleet.rentals.underway.models import EXTENSIONS_MAX, RentalExtension


def extend(session: Session, *, user_id: UUID, rental_id: UUID, package_id: UUID, now: datetime) -> Rental:
    """The rental is due later by the package's time. A prepaid package's price is held at once, to be charged at the
    end; a bank that turns out to have been back before `now` cost nothing of it.

    Raises RentalNotFound, NotExtendable, PackageNotFound, PackageTooDear, InsufficientFunds.
    """
    rental_of(session, user_id, rental_id)
    rental = lock_rentals(session, [rental_id])[rental_id]
    number = _next(session, rental, now)
    package = packages.offered(session, package_id, rental.currency)
    _set_aside(session, rental, package, number, now)
    due_before = rental.overdue_at
    rental.prepaid = [*rental.prepaid, packages.bought(package, now).to_json()]
    set_due(rental)
    session.add(
        RentalExtension(
            rental_id=rental.id, number=number, package_id=package.id, due_before=due_before,
            due_after=rental.overdue_at, bought_at=now,
        )
    )  # fmt: skip
    due = rental.overdue_at
    evidence = {"package": str(package.id), "name": package.name, "due": None if due is None else due.isoformat()}
    note(session, rental, rental.state, why="extended", evidence=evidence, at=now, now=now)
    session.flush()  # the answer is read back
    return rental_of(session, user_id, rental_id)


def _next(session: Session, rental: Rental, now: datetime) -> int:
    """The number that the extension has. Raises NotExtendable."""
    taken = session.scalar(select(func.count()).where(RentalExtension.rental_id == rental.id)) or 0
    reason = None
    if rental.state is not RentalState.ACTIVE:
        reason = f"it is {rental.state}"
    elif rental.overdue_at is not None and rental.overdue_at <= now:
        reason = "its time is over"
    elif not rental.prepaid:
        reason = "it was begun without a package"
    elif taken >= EXTENSIONS_MAX:
        reason = f"it was extended {taken} times"
    if reason is not None:
        raise NotExtendable(
            f"the rental cannot be extended: {reason}", rental_id=rental.id, reason=reason, state=rental.state
        )
    return taken + 1


def _set_aside(session: Session, rental: Rental, package: RentalPackage, number: int, now: datetime) -> None:
    terms, adjustments, before = terms_of(rental), adjustments_of(rental), prepaid_of(rental)
    after = (*before, packages.bought(package, now))
    at = rental.requested_at
    more = packages.at_once(terms, after, adjustments, at) - packages.at_once(terms, before, adjustments, at)
    wallet = lock_purse(session, rental.user_id, rental.currency, now)
    plan, points = PaymentPlan(rental.pay, rental.points_max_minor), None
    if plan.points_minor != 0:
        points = lock_points(session, rental.user_id, wallet, now)
        plan = _left(session, rental, plan)
    packages.check_balance(package, plan.funds(wallet.available_minor, 0 if points is None else points.available_minor))
    if package.kind is PackageKind.PREPAID and more > 0:
        money = Money(more, rental.currency)
        set_aside(session, Purses(wallet, points), rental.id, money, plan, now=now, key=f"extension:{number}")


def _left(session: Session, rental: Rental, plan: PaymentPlan) -> PaymentPlan:
    """An exact amount of points is for the whole rental: what is held of it already is used up."""
    if plan.points_minor is None:
        return plan
    held = holds.held_by(session, rental.id, AccountKind.BONUS)
    return PaymentPlan(plan.mode, max(0, plan.points_minor - held))
