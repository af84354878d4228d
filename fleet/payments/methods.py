"""Cards that riders saved: tokens of the provider's, never numbers."""

from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.common.outbox import publish
from fleet.config.service import PUBLIC, ConfigKey, get, registry
from fleet.payments.errors import (
    MethodLimitReached,
    PaymentMethodNotFound,
    PaymentMethodRefused,
    ProviderUnavailable,
    TooManyPaymentMethods,
)
from fleet.payments.events import PaymentMethodRemoved
from fleet.payments.intent_models import IntentState, PaymentIntent, PaymentMethod
from fleet.payments.providers.base import OutcomeUnknown, PaymentProvider, ProviderRefused, SavedMethod
from fleet.payments.transactions import Transactions
from fleet.users.models import User

METHODS_MAX: Final = 10
_DAY: Final = timedelta(days=1)
#: These brought nothing and count for no limit.
_BROUGHT_NOTHING = (IntentState.FAILED, IntentState.CANCELLED)


class MethodLimits(BaseModel):
    """Minor units; `day_minor` within any 24 hours, 0: no limit."""

    max_minor: Annotated[int, Field(gt=0)]
    day_minor: Annotated[int, Field(ge=0)] = 0


LIMITS = registry.add(
    ConfigKey(
        "payments.method_limits",
        dict[str, dict[str, MethodLimits]],
        {"card": {"EUR": MethodLimits(max_minor=20_000, day_minor=100_000)}},
        scope=PUBLIC,
        description="Most that one saved method may pay at once and within 24 hours, by kind of method and currency; "
        "others have no limit of their own.",
    )
)


def methods_of(session: Session, user_id: UUID) -> list[PaymentMethod]:
    """The default first, then the newest."""
    query = (
        select(PaymentMethod)
        .where(PaymentMethod.user_id == user_id, PaymentMethod.removed_at.is_(None))
        .order_by(PaymentMethod.is_default.desc(), PaymentMethod.id.desc())
    )
    return list(session.scalars(query))


def method_of(session: Session, user_id: UUID, method_id: UUID) -> PaymentMethod:
    """Raises PaymentMethodNotFound when it is not the user's, or was removed."""
    method = session.get(PaymentMethod, method_id)
    if method is None or method.user_id != user_id or method.removed_at is not None:
        raise PaymentMethodNotFound("no such payment method", method_id=method_id)
    return method


def locked(session: Session, user_id: UUID, method_id: UUID, *, share: bool = False) -> PaymentMethod:
    """The method as it is now; `share`: only so that it is not removed meanwhile. Raises PaymentMethodNotFound."""
    session.get(PaymentMethod, method_id, with_for_update={"read": share}, populate_existing=True)
    return method_of(session, user_id, method_id)


def at_provider(transactions: Transactions, *, user_id: UUID, token: str, provider: PaymentProvider) -> SavedMethod:
    """Have the provider save what the app's one-time `token` stands for; nothing of ours is kept yet.

    Raises PaymentMethodRefused, TooManyPaymentMethods, ProviderUnavailable.
    """
    with transactions() as session:
        _check_room(session, user_id)
        customer = session.scalar(
            select(PaymentMethod.customer)
            .where(PaymentMethod.user_id == user_id, PaymentMethod.provider == provider.name)
            .limit(1)
        )
    try:
        return provider.save_method(user_id, token, customer)
    except ProviderRefused as error:
        raise PaymentMethodRefused(f"the card cannot be saved: {error}", reason=error.code) from error
    except OutcomeUnknown as error:
        raise ProviderUnavailable("the payment provider does not answer; try again") from error


def _check_room(session: Session, user_id: UUID) -> None:
    if len(methods_of(session, user_id)) >= METHODS_MAX:
        raise TooManyPaymentMethods(f"{METHODS_MAX} payment methods are saved already", limit=METHODS_MAX)


def keep(session: Session, user_id: UUID, provider: str, saved: SavedMethod, now: datetime) -> PaymentMethod:
    """The row of what a provider saved; the first one is the default. The same again is one row.

    Raises TooManyPaymentMethods.
    """
    session.get_one(User, user_id, with_for_update={"key_share": True})  # one first card, and not one too many
    _check_room(session, user_id)
    first = not methods_of(session, user_id)
    made = session.scalars(
        insert(PaymentMethod)
        .values(
            user_id=user_id, provider=provider, token=saved.token, customer=saved.customer, kind=saved.kind,
            brand=saved.brand, last4=saved.last4, expires_month=saved.expires_month, expires_year=saved.expires_year,
            is_default=first, created_at=now,
        )
        .on_conflict_do_nothing(index_elements=["provider", "token"])
        .returning(PaymentMethod)
    ).one_or_none()  # fmt: skip
    if made is not None:
        return made
    query = select(PaymentMethod).where(PaymentMethod.provider == provider, PaymentMethod.token == saved.token)
    return method_of(session, user_id, session.scalars(query).one().id)


def make_default(session: Session, user_id: UUID, method_id: UUID) -> PaymentMethod:
    """Again changes nothing. Raises PaymentMethodNotFound."""
    session.get_one(User, user_id, with_for_update={"key_share": True})
    method = method_of(session, user_id, method_id)
    own = PaymentMethod.user_id == user_id
    session.execute(update(PaymentMethod).where(own, PaymentMethod.is_default).values(is_default=False))
    session.execute(update(PaymentMethod).where(PaymentMethod.id == method.id).values(is_default=True))
    session.refresh(method)
    return method


def remove(session: Session, user_id: UUID, method_id: UUID, now: datetime) -> None:
    """The provider forgets it too, soon; the newest of the others becomes the default. Raises PaymentMethodNotFound."""
    session.get_one(User, user_id, with_for_update={"key_share": True})
    method = method_of(session, user_id, method_id)
    was_default, method.is_default, method.removed_at = method.is_default, False, now
    publish(session, PaymentMethodRemoved(method.id), now)
    session.flush()  # one default at a time
    left = methods_of(session, user_id)
    if was_default and left:
        left[0].is_default = True


def forget(transactions: Transactions, method_id: UUID, provider: PaymentProvider) -> None:
    """Have the provider forget a method that was removed. Raises OutcomeUnknown: again later."""
    with transactions() as session:
        method = session.get(PaymentMethod, method_id)
    if method is not None and method.removed_at is not None and method.provider == provider.name:
        provider.forget_method(method.token)


def use(session: Session, intent: PaymentIntent, method_id: UUID, now: datetime) -> PaymentMethod:
    """Note that this method pays the intent, within its limits. The rider's wallet is locked: payments queue there.

    Raises PaymentMethodNotFound, MethodLimitReached.
    """
    method = method_of(session, intent.user_id, method_id)
    if method.provider != intent.provider:
        raise PaymentMethodNotFound("this method is of another payment provider", method_id=method_id)
    left = left_minor(session, method, intent.currency, now)
    if left is not None and intent.amount_minor > left:
        raise MethodLimitReached(
            f"this method may pay {Money(max(left, 0), intent.currency)} more",
            left_minor=max(left, 0),
            currency=intent.currency,
        )
    intent.method_id, intent.customer = method.id, method.customer
    return method


def left_minor(session: Session, method: PaymentMethod, currency: str, now: datetime) -> int | None:
    """What the method may pay now by its limits, perhaps less than nothing; None: it has none in this currency."""
    limits = get(session, LIMITS).get(method.kind, {}).get(currency)
    if limits is None:
        return None
    if not limits.day_minor:
        return limits.max_minor
    query = select(func.coalesce(func.sum(PaymentIntent.amount_minor), 0)).where(
        PaymentIntent.method_id == method.id,
        PaymentIntent.currency == currency,
        PaymentIntent.confirmed_at > now - _DAY,
        PaymentIntent.state.not_in(_BROUGHT_NOTHING),
    )
    return min(limits.max_minor, limits.day_minor - int(session.scalar(query) or 0))
