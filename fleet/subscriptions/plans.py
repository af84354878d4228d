"""Plans: what riders may subscribe to. A version never changes; an edit is a new one (decision 0191)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2.errors import UniqueViolation
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country
from fleet.stations.venues import find_venue
from fleet.subscriptions.errors import PlanChanged, PlanExists, PlanNotFound
from fleet.subscriptions.models import PeriodUnit, SubscriptionPlan
from fleet.subscriptions.rules import Allowance, Length


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """Minor units, minutes, basis points. `venue` is a code; at most one of venue and city (of a country)."""

    name: str
    price_minor: int
    currency: str
    period_unit: PeriodUnit
    period_count: int = 1
    free_minutes_per_rental: int | None = None
    free_minutes_per_day: int | None = None
    free_minutes_per_period: int | None = None
    discount_bp: int = 0
    trial_days: int | None = None
    venue: str | None = None
    city: str | None = None
    country: str | None = None
    tax_country: str | None = None


def create_plan(session: Session, code: str, spec: PlanSpec, now: datetime) -> SubscriptionPlan:
    """Raises PlanExists, InvalidInput, VenueNotFound."""
    plan = _version(session, code, 1, spec, now)
    try:
        with session.begin_nested():
            session.add(plan)
    except IntegrityError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        raise PlanExists(f"there is a plan {code!r} already", plan=code) from None
    return plan


def edit_plan(session: Session, code: str, spec: PlanSpec, version: int, now: datetime) -> SubscriptionPlan:
    """Replace `version`, which the caller has seen as the newest. Periods from now on go by the new one, those that
    are paid or asked for stay as they are.

    Raises PlanNotFound, PlanChanged, InvalidInput, VenueNotFound.
    """
    newest = _locked(session, code)
    if newest.version != version or newest.retired_at is not None:
        raise PlanChanged(f"plan {code!r} was changed by somebody else", plan=code, version=newest.version)
    if spec.currency != newest.currency:
        raise InvalidInput("a plan keeps its currency: offer another one", field="currency")
    plan = _version(session, code, newest.version + 1, spec, now)
    newest.replaced_at = now
    session.flush()  # one version is the newest at a time
    session.add(plan)
    session.flush()  # what the database refuses belongs to this call
    return plan


def retire_plan(session: Session, code: str, now: datetime) -> SubscriptionPlan:
    """Nobody new can have it; those who have it keep it. Again changes nothing. Raises PlanNotFound."""
    plan = _locked(session, code)
    plan.retired_at = plan.retired_at or now
    return plan


def _locked(session: Session, code: str) -> SubscriptionPlan:
    query = select(SubscriptionPlan).where(SubscriptionPlan.code == code, SubscriptionPlan.replaced_at.is_(None))
    plan = session.scalars(query.with_for_update(), execution_options={"populate_existing": True}).one_or_none()
    if plan is None:
        raise PlanNotFound(f"there is no plan {code!r}", plan=code)
    return plan


def _version(session: Session, code: str, version: int, spec: PlanSpec, now: datetime) -> SubscriptionPlan:
    for field, message in _problems(session, spec):
        raise InvalidInput(message, field=field)
    return SubscriptionPlan(
        code=code, version=version, name=spec.name, price_minor=spec.price_minor, currency=spec.currency,
        period_unit=spec.period_unit, period_count=spec.period_count,
        free_minutes_per_rental=spec.free_minutes_per_rental, free_minutes_per_day=spec.free_minutes_per_day,
        free_minutes_per_period=spec.free_minutes_per_period, discount_bp=spec.discount_bp,
        trial_days=spec.trial_days,
        venue_id=None if spec.venue is None else find_venue(session, spec.venue).id, city=spec.city,
        country=spec.country, tax_country=spec.tax_country, created_at=now,
    )  # fmt: skip


def _problems(session: Session, spec: PlanSpec) -> list[tuple[str, str]]:
    found = []
    minutes = (spec.free_minutes_per_rental, spec.free_minutes_per_day, spec.free_minutes_per_period)
    if spec.discount_bp == 0 and all(each is None for each in minutes):
        found.append(("discount_bp", "a plan gives free minutes, a discount, or both"))
    if spec.venue is not None and (spec.city is not None or spec.country is not None):
        found.append(("venue", "a plan is for one venue, one city, one country, or everywhere"))
    for field in ("country", "tax_country"):
        code = getattr(spec, field)
        if code is not None and session.get(Country, code) is None:
            found.append((field, f"no country {code}"))
    return found


def newest(session: Session, code: str) -> SubscriptionPlan:
    """Retired ones too. Raises PlanNotFound."""
    query = select(SubscriptionPlan).where(SubscriptionPlan.code == code, SubscriptionPlan.replaced_at.is_(None))
    plan = session.scalars(query).one_or_none()
    if plan is None:
        raise PlanNotFound(f"there is no plan {code!r}", plan=code)
    return plan


def offered(session: Session, code: str) -> SubscriptionPlan:
    """Raises PlanNotFound, also when it is retired."""
    plan = newest(session, code)
    if plan.retired_at is not None:
        raise PlanNotFound(f"plan {code!r} is not offered any more", plan=code)
    return plan


def offers(session: Session) -> Sequence[SubscriptionPlan]:
    """What a rider may choose, cheapest first within a currency."""
    query = (
        select(SubscriptionPlan)
        .where(SubscriptionPlan.replaced_at.is_(None), SubscriptionPlan.retired_at.is_(None))
        .order_by(SubscriptionPlan.currency, SubscriptionPlan.price_minor, SubscriptionPlan.code)
    )
    return session.scalars(query).all()


def all_plans(session: Session) -> Sequence[SubscriptionPlan]:
    """Every version, by code, newest first."""
    query = select(SubscriptionPlan).order_by(SubscriptionPlan.code, SubscriptionPlan.version.desc())
    return session.scalars(query).all()


def length_of(plan: SubscriptionPlan) -> Length:
    return Length(plan.period_unit, plan.period_count)


def allowance_of(plan: SubscriptionPlan) -> Allowance:
    """In seconds."""
    minutes = (plan.free_minutes_per_rental, plan.free_minutes_per_day, plan.free_minutes_per_period)
    return Allowance(*(None if each is None else each * 60 for each in minutes))
