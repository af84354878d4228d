"""What riders may subscribe to, who does, what each period cost, and the free minutes that rentals took of it."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fleet.db import Base, text_enum, uuid_pk


class PeriodUnit(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class SubscriptionState(StrEnum):
    #: The first payment is under way.
    PENDING = "pending"
    ACTIVE = "active"
    #: A period has begun that is not paid; it is asked for again by a schedule.
    PAST_DUE = "past_due"
    #: Ended because somebody wanted it to.
    CANCELLED = "cancelled"
    #: Ended because nobody paid.
    EXPIRED = "expired"


#: A rider has one of these at most.
LIVE_STATES = (SubscriptionState.PENDING, SubscriptionState.ACTIVE, SubscriptionState.PAST_DUE)
_LIVE = "state IN ('pending', 'active', 'past_due')"


class PeriodState(StrEnum):
    #: To be paid.
    DUE = "due"
    PAID = "paid"
    #: Never paid, and not asked for any more.
    UNPAID = "unpaid"


class AttemptState(StrEnum):
    OPEN = "open"
    #: Its money paid the period.
    PAID = "paid"
    FAILED = "failed"
    #: Its money came when it was not wanted any more, and went back to the card.
    RETURNED = "returned"


class SubscriptionPlan(Base):
    """One version of a plan. It never changes but in when it ends (trigger): an edit is a new version.

    For rentals from the stations of one venue, city or country, or from all.
    """

    __tablename__ = "subscription_plan"
    __table_args__ = (
        UniqueConstraint("code", "version"),
        # One version of each is the newest.
        Index("uq_subscription_plan_newest", "code", unique=True, postgresql_where=text("replaced_at IS NULL")),
        CheckConstraint("code ~ '^[a-z0-9][a-z0-9-]*$'", name="code"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
        CheckConstraint("price_minor > 0 AND discount_bp BETWEEN 0 AND 10000", name="amounts"),
        CheckConstraint("period_count BETWEEN 1 AND 366", name="period"),
        CheckConstraint(
            "free_minutes_per_rental > 0 AND free_minutes_per_day > 0 AND free_minutes_per_period > 0",
            name="free_minutes",
        ),
        CheckConstraint(
            "discount_bp > 0"
            " OR num_nonnulls(free_minutes_per_rental, free_minutes_per_day, free_minutes_per_period) > 0",
            name="benefit",
        ),
        CheckConstraint("num_nonnulls(venue_id, coalesce(city, country)) <= 1", name="one_scope"),
        CheckConstraint("trial_days BETWEEN 1 AND 366", name="trial"),
    )

    id: Mapped[UUID] = uuid_pk()
    code: Mapped[str] = mapped_column(String(32))
    version: Mapped[int]
    name: Mapped[str] = mapped_column(String(100))
    #: Of one period, tax included.
    price_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    period_unit: Mapped[PeriodUnit] = mapped_column(text_enum(PeriodUnit, 8))
    period_count: Mapped[int] = mapped_column(SmallInteger, default=1, server_default="1")
    #: The least of those that are set counts; none set: no free minutes.
    free_minutes_per_rental: Mapped[int | None]
    free_minutes_per_day: Mapped[int | None]
    free_minutes_per_period: Mapped[int | None]
    #: Off what a rental costs after its free minutes.
    discount_bp: Mapped[int] = mapped_column(default=0, server_default="0")
    #: So many days cost nothing when a rider has it for the first time; NULL: none.
    trial_days: Mapped[int | None] = mapped_column(SmallInteger)
    venue_id: Mapped[int | None] = mapped_column(ForeignKey("venue.id"))
    city: Mapped[str | None] = mapped_column(String(100))
    country: Mapped[str | None] = mapped_column(ForeignKey("country.iso_code"))
    #: Whose tax the price contains; NULL: none.
    tax_country: Mapped[str | None] = mapped_column(ForeignKey("country.iso_code"))
    created_at: Mapped[datetime]
    #: There is a newer version since.
    replaced_at: Mapped[datetime | None]
    #: Nobody new can have it since; those who have it keep it.
    retired_at: Mapped[datetime | None]


class Subscription(Base):
    """A rider's, from the first payment to its end."""

    __tablename__ = "subscription"
    __table_args__ = (
        Index("uq_subscription_live", "user_id", unique=True, postgresql_where=text(_LIVE)),
        Index("ix_subscription_look_at", "look_at", postgresql_where=text("look_at IS NOT NULL")),
        Index(None, "user_id", "id"),
        Index(None, "state", "id"),
        CheckConstraint(f"({_LIVE}) = (ended_at IS NULL)", name="ended"),
        CheckConstraint("(state = 'past_due') = (past_due_since IS NOT NULL)", name="past_due"),
        CheckConstraint(f"({_LIVE}) = (look_at IS NOT NULL)", name="look_at"),
        CheckConstraint("state <> 'pending' OR period_number = 0", name="pending"),
        CheckConstraint("period_number >= anchor_number AND anchor_number >= 0 AND retries >= 0", name="numbers"),
    )

    id: Mapped[UUID] = uuid_pk()
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"))
    state: Mapped[SubscriptionState] = mapped_column(text_enum(SubscriptionState, 16))
    plan_code: Mapped[str] = mapped_column(String(32))
    #: The plan from the next period on, when that is another one.
    next_plan_code: Mapped[str | None] = mapped_column(String(32))
    currency: Mapped[str] = mapped_column(String(3))
    #: Whose days and months it counts: the rider's when it began.
    time_zone: Mapped[str] = mapped_column(String(64))
    #: Periods are counted from here: the one after `anchor_number` began at `anchor_at` (rules.period_after).
    anchor_at: Mapped[datetime]
    anchor_number: Mapped[int] = mapped_column(default=0, server_default="0")
    #: The last period that was paid, from 1; 0: none yet.
    period_number: Mapped[int] = mapped_column(default=0, server_default="0")
    cancel_at_period_end: Mapped[bool] = mapped_column(default=False, server_default="false")
    #: The card that pays when the wallet cannot; NULL: the default one.
    method_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment_method.id"))
    #: When the renewal job has to look at it.
    look_at: Mapped[datetime | None]
    past_due_since: Mapped[datetime | None]
    #: How often the schedule has asked for the period that is due, after the first time.
    retries: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    failure_code: Mapped[str | None] = mapped_column(String(64))
    #: The Idempotency-Key of the request that made it.
    request_key: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None] = mapped_column(String(300))


class SubscriptionPeriod(Base):
    """What a rider pays for: once, whatever is retried. Its plan's version is frozen, the price too."""

    __tablename__ = "subscription_period"
    __table_args__ = (
        UniqueConstraint("subscription_id", "number"),
        # Nobody pays for the same day twice.
        ExcludeConstraint(
            ("subscription_id", "="), (text("tstzrange(starts_at, ends_at)"), "&&"), using="gist",
            where=text("state = 'paid'"), name="ex_subscription_period_overlap",
        ),
        CheckConstraint("number >= 1 AND ends_at > starts_at", name="period"),
        CheckConstraint("price_minor >= 0 AND tax_minor BETWEEN 0 AND price_minor", name="amounts"),
        CheckConstraint("refunded_minor BETWEEN 0 AND price_minor", name="refunded"),
        CheckConstraint("(state = 'paid') = (paid_at IS NOT NULL)", name="paid_at"),
        CheckConstraint("(price_minor = 0) = (trial OR granted_by IS NOT NULL)", name="granted"),
        CheckConstraint("NOT trial OR number = 1 AND granted_by IS NULL", name="trial"),
        CheckConstraint(
            "(state = 'paid' AND price_minor > 0) = (transfer_id IS NOT NULL AND invoice_id IS NOT NULL)", name="paid"
        ),
    )  # fmt: skip

    id: Mapped[UUID] = uuid_pk()
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscription.id"))
    number: Mapped[int]
    plan_id: Mapped[UUID] = mapped_column(ForeignKey("subscription_plan.id"))
    state: Mapped[PeriodState] = mapped_column(text_enum(PeriodState, 8))
    #: Of one that is due: as it would be.
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    #: 0: a gift of `granted_by`, or a trial.
    price_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    tax_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    refunded_minor: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    granted_by: Mapped[UUID | None] = mapped_column(ForeignKey("app_user.id"))
    trial: Mapped[bool] = mapped_column(default=False, server_default="false")
    paid_at: Mapped[datetime | None]
    transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfer.id"), unique=True)
    invoice_id: Mapped[UUID | None] = mapped_column(ForeignKey("invoice.id"), unique=True)
    #: The card payment that paid it; NULL: the wallet.
    intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("payment_intent.id"), unique=True)
    created_at: Mapped[datetime]

    plan: Mapped[SubscriptionPlan] = relationship(lazy="raise", viewonly=True)


class SubscriptionTrial(Base):
    """A rider tried a plan, whichever of its versions: once for ever."""

    __tablename__ = "subscription_trial"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("app_user.id"), primary_key=True)
    plan_code: Mapped[str] = mapped_column(String(32), primary_key=True)
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscription.id"), unique=True)
    began_at: Mapped[datetime]


class SubscriptionAttempt(Base):
    """One card payment for a period. One is open at a time, whatever the jobs do."""

    __tablename__ = "subscription_attempt"
    __table_args__ = (
        UniqueConstraint("period_id", "number"),
        Index("uq_subscription_attempt_open", "period_id", unique=True, postgresql_where=text("state = 'open'")),
        CheckConstraint("(state = 'open') = (settled_at IS NULL)", name="settled"),
    )

    intent_id: Mapped[UUID] = mapped_column(ForeignKey("payment_intent.id"), primary_key=True)
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscription.id"), index=True)
    period_id: Mapped[UUID] = mapped_column(ForeignKey("subscription_period.id"))
    number: Mapped[int] = mapped_column(SmallInteger)
    method_id: Mapped[UUID] = mapped_column(ForeignKey("payment_method.id"))
    #: By the schedule; else the rider asked for it.
    scheduled: Mapped[bool]
    state: Mapped[AttemptState] = mapped_column(text_enum(AttemptState, 16))
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class SubscriptionUse(Base):
    """The free time that a rental was promised at its start, and what it used of it. One row for a rental."""

    __tablename__ = "subscription_use"
    __table_args__ = (
        Index(None, "subscription_id", "day"),
        CheckConstraint("granted_s > 0 AND used_s BETWEEN 0 AND granted_s", name="seconds"),
        CheckConstraint("(used_s IS NULL) = (settled_at IS NULL)", name="settled"),
    )

    #: A plain id because rentals are above subscriptions.
    rental_id: Mapped[UUID] = mapped_column(primary_key=True)
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscription.id"))
    period_id: Mapped[UUID] = mapped_column(ForeignKey("subscription_period.id"))
    #: The local day on which the rental began.
    day: Mapped[date]
    granted_s: Mapped[int]
    #: NULL while the rental is open: all of it counts as used.
    used_s: Mapped[int | None]
    granted_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
