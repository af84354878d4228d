"""Tariffs and taxes: versions that never change, and a trial that changes nothing."""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Query
from sqlalchemy.orm import Session

from api.admin.acts import ActsDep
from api.admin.schemas import Code
from api.admin.tariff_schemas import (
    Country,
    ScopeIn,
    TariffEndIn,
    TariffIn,
    TariffVersion,
    TariffVersionIn,
    TaxRateIn,
    TaxRateOut,
    TaxRates,
    TryIn,
    TryOut,
)
from api.auth import CurrentOperator
from api.deps import Now, RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.problems import problems
from api.rentals.schemas import PriceOut
from api.schemas import Cursor, Instant, Limit, MoneyOut, Page
from api.v1 import area
from fleet.payments import taxes
from fleet.rentals.pricing.terms import TariffTerms
from fleet.rentals.starts import checks
from fleet.rentals.tariffs import edits as tariff_edits
from fleet.rentals.tariffs import queries as tariffs
from fleet.rentals.tariffs import trials
from fleet.rentals.tariffs.queries import Scope
from fleet.stations.queries import find_station
from fleet.stations.venues import find_venue

router = area("admin", "admin")


@router.get("/tariff", operation_id="admin_list_tariffs", summary="Versions of tariffs, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_tariffs(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    series_id: Annotated[UUID | None, Query(description="of one tariff")] = None,
    at: Annotated[Instant | None, Query(description="those that hold then")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[TariffVersion]:
    before = runtime.cursors.read("tariffs", cursor)
    rows = tariffs.find_tariffs(
        session, limit=limit + 1, before=UUID(before) if before else None, series_id=series_id, at=at
    )
    more = runtime.cursors.make("tariffs", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[TariffVersion.of(row) for row in rows[:limit]], next=more)


@router.post("/tariff", operation_id="admin_create_tariff", summary="Make a tariff", status_code=201,
             responses=problems(401, 403, 404, 409))  # fmt: skip
def create(body: TariffIn, acts: ActsDep) -> TariffVersion:
    """Two for the same place cannot hold at once (409); a more specific one takes the place of a wider one there."""
    scope = _scope(acts.session, body.scope)
    spec = tariff_edits.TariffSpec(body.name, scope, body.terms(), body.valid_from, body.valid_to)
    tariff = tariff_edits.create_tariff(acts.session, spec, acts.now)
    acts.record("tariff.create", target=str(tariff.id), detail=body.model_dump(mode="json"))
    return TariffVersion.of(tariff)


def _scope(session: Session, scope: ScopeIn) -> Scope:
    station = None if scope.station is None else find_station(session, scope.station).id
    venue = None if scope.venue is None else find_venue(session, scope.venue).id
    return Scope(station, venue, scope.city, scope.country)


@router.post("/tariff/try", operation_id="admin_try_tariff", summary="What an example would cost; changes nothing",
             responses=problems(401, 403, 404))  # fmt: skip
def try_(body: TryIn, session: SessionDep, _: CurrentOperator, now: Now) -> TryOut:
    """For a configuration before it is activated: its late fees, multipliers, caps, tax and rounding, line by line."""
    terms = _terms(session, body)
    if body.country is not None:
        terms = trials.taxed(session, terms, body.country, now)
    ended_at = body.started_at + timedelta(minutes=body.minutes)
    found = trials.attempt(
        terms,
        body.started_at,
        ended_at,
        paused=[(each.begins, each.ends) for each in body.paused],
        time_zone=body.time_zone,
        prepaid=tuple(each.prepaid() for each in body.prepaid),
    )
    return TryOut(
        price=PriceOut.of(found.price, final=False, at=ended_at),
        late_fee=MoneyOut.of(found.late_minor, terms.currency),
        overdue_at=found.overdue_at,
        buyout_at=found.buyout_at,
    )


def _terms(session: Session, body: TryIn) -> TariffTerms:
    if body.terms is not None:
        terms = body.terms.terms()
    else:
        assert body.tariff_id is not None  # TryIn has one of both
        terms = tariffs.terms(tariffs.tariff_by_id(session, body.tariff_id))
    return terms if body.late is None else replace(terms, late=body.late.terms())


@router.get("/tariff/{tariff_id}", operation_id="admin_get_tariff", summary="One version of a tariff",
            responses=problems(401, 403, 404))  # fmt: skip
def show(tariff_id: UUID, session: SessionDep, _: CurrentOperator) -> TariffVersion:
    return TariffVersion.of(tariffs.tariff_by_id(session, tariff_id))


@router.post("/tariff/{tariff_id}/version", operation_id="admin_revise_tariff", summary="Replace a version by a newer",
             status_code=201, responses=problems(401, 403, 404, 409))  # fmt: skip
def revise(tariff_id: UUID, body: TariffVersionIn, acts: ActsDep) -> TariffVersion:
    """Rentals under way keep the version that they began with. Of a version that is not the newest any more: 409."""
    tariff = tariff_edits.revise_tariff(
        acts.session, tariff_id, body.terms(), acts.now, name=body.name, valid_from=body.valid_from
    )
    detail = {"replaces": str(tariff_id), **body.model_dump(mode="json")}
    acts.record("tariff.revise", target=str(tariff.id), detail=detail)
    return TariffVersion.of(tariff)


@router.post("/tariff/{tariff_id}/end", operation_id="admin_end_tariff", summary="Let a tariff end",
             responses=problems(401, 403, 404, 409))  # fmt: skip
def end(tariff_id: UUID, body: TariffEndIn, acts: ActsDep) -> TariffVersion:
    """Where no other one holds then, nothing can be rented."""
    tariff = tariff_edits.end_tariff(acts.session, tariff_id, body.at, acts.now)
    acts.record("tariff.end", target=str(tariff_id), detail=body.model_dump(mode="json"))
    return TariffVersion.of(tariff)


@router.get("/station/{code}/tariff", operation_id="admin_station_tariff", summary="Which tariff counts at a station",
            responses=problems(401, 403, 404, 409))  # fmt: skip
def of_station(code: Code, session: SessionDep, _: CurrentOperator, now: Now) -> TariffVersion:
    found = checks.tariff_at(session, find_station(session, code), now)
    return TariffVersion.of(tariffs.tariff_by_id(session, found.tariff_id))


@router.get("/tax-rate", operation_id="admin_list_tax_rates", summary="Taxes by country, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_rates(session: SessionDep, _: CurrentOperator) -> TaxRates:
    return TaxRates(items=[TaxRateOut.of(rate) for rate in taxes.rates(session)])


@router.put("/tax-rate/{country}", operation_id="admin_set_tax_rate", summary="The tax of a country from some time on",
            responses=problems(401, 403))  # fmt: skip
def set_rate(country: Country, body: TaxRateIn, acts: ActsDep) -> TaxRateOut:
    """Rentals under way keep the rate that they began with."""
    rate = taxes.set_rate(
        acts.session,
        country,
        name=body.name,
        basis_points=body.basis_points,
        now=acts.now,
        valid_from=body.valid_from,
    )
    acts.record("tax_rate.set", target=country, detail=body.model_dump(mode="json"))
    return TaxRateOut.of(rate)
