"""How tariffs come, change and go. A version never changes; rentals keep the one that they began with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country
from fleet.db import new_id
from fleet.rentals.errors import TariffNotFound, TariffOverlap, TariffRevised
from fleet.rentals.pricing.terms import TariffTerms
from fleet.rentals.tariffs.models import Tariff
from fleet.rentals.tariffs.queries import Scope, columns

_EXCLUSION_VIOLATION = "23P01"


@dataclass(frozen=True, slots=True)
class TariffSpec:
    """A tariff to be. `terms.tax` counts only for whether it is contained: how much it is, the country says.

    `valid_from` None: from now on.
    """

    name: str
    scope: Scope
    terms: TariffTerms
    valid_from: datetime | None = None
    valid_to: datetime | None = None


def create_tariff(session: Session, spec: TariffSpec, now: datetime) -> Tariff:
    """Version 1 of a new tariff. Raises InvalidInput, TariffOverlap when another one holds there in that time."""
    _check_scope(session, spec.scope)
    return _add(session, spec, _not_past(spec.valid_from, now))


def revise_tariff(
    session: Session,
    tariff_id: UUID,
    new: TariffTerms,
    now: datetime,
    *,
    name: str | None = None,
    valid_from: datetime | None = None,
) -> Tariff:
    """The next version, from `valid_from` (now) on; `tariff_id` names the one that it takes the place of.

    It ends when that one would have ended. Rentals under way keep what they began with. Raises TariffNotFound,
    TariffRevised when there is a newer version already, InvalidInput.
    """
    old = _locked(session, tariff_id)
    begins = _not_past(valid_from, now)
    if old.valid_to is not None and old.valid_to <= max(begins, now):
        raise InvalidInput("that tariff has ended by then: make a new one", field="valid_from")
    ends, old.valid_to = old.valid_to, max(begins, old.valid_from)
    session.flush()  # the old one makes way before the new one comes
    scope = Scope(old.station_id, old.venue_id, old.city, old.country)
    spec = TariffSpec(name or old.name, scope, new, begins, ends)
    return _add(session, spec, begins, series_id=old.series_id, version=old.version + 1)


def end_tariff(session: Session, tariff_id: UUID, at: datetime | None, now: datetime) -> Tariff:
    """It holds until `at` (now), and not at all when it has not begun by then; again changes nothing.

    Raises TariffNotFound, TariffRevised, InvalidInput.
    """
    tariff = _locked(session, tariff_id)
    ends = max(_not_past(at, now), tariff.valid_from)
    if tariff.valid_to is None or tariff.valid_to > ends:
        tariff.valid_to = ends
        session.flush()  # the answer is read back
    return tariff


def _locked(session: Session, tariff_id: UUID) -> Tariff:
    query = select(Tariff).where(Tariff.id == tariff_id).with_for_update(key_share=True)
    tariff = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if tariff is None:
        raise TariffNotFound("there is no such tariff", tariff_id=tariff_id)
    newest = session.scalar(select(func.max(Tariff.version)).where(Tariff.series_id == tariff.series_id))
    if newest != tariff.version:
        raise TariffRevised(
            f"version {tariff.version} has been replaced by version {newest}", version=tariff.version, newest=newest
        )
    return tariff


def _add(
    session: Session, spec: TariffSpec, valid_from: datetime, *, series_id: UUID | None = None, version: int = 1
) -> Tariff:
    spec.terms.check()
    if spec.valid_to is not None and spec.valid_to <= valid_from:
        raise InvalidInput("it ends before it begins", field="valid_to")
    tariff = Tariff(
        name=spec.name,
        series_id=series_id or new_id(),
        version=version,
        valid_from=valid_from,
        valid_to=spec.valid_to,
        **asdict(spec.scope),
        **columns(spec.terms),
    )
    with _told_overlap():
        session.add(tariff)
        session.flush()  # an overlap belongs to this call
    return tariff


@contextmanager
def _told_overlap() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if getattr(error.orig, "pgcode", None) != _EXCLUSION_VIOLATION:
            raise
        raise TariffOverlap("another tariff holds for the same place in that time: revise or end it") from error


def _check_scope(session: Session, scope: Scope) -> None:
    named = [name for name, value in asdict(scope).items() if value is not None]
    if len(named) > 1 and set(named) != {"city", "country"}:
        raise InvalidInput(f"a tariff is for one of {', '.join(named)}", field="scope")
    if scope.country is not None and session.get(Country, scope.country) is None:
        raise InvalidInput(f"no country {scope.country}", field="scope.country")


def _not_past(at: datetime | None, now: datetime) -> datetime:
    if at is not None and at < now:
        raise InvalidInput("the past cannot be changed", field="valid_from")
    return at or now
