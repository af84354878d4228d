"""Tariffs as data: the most specific one, versions that never change, no two at once, the country's tax."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.common.models import Country
from fleet.payments.taxes import load_tax_rates, set_rate
from fleet.rentals.agreement import terms_of
from fleet.rentals.errors import TariffNotFound, TariffOverlap, TariffRevised
from fleet.rentals.pricing.terms import LateTerms, Multiplier, TariffTerms, TaxTerms
from fleet.rentals.tariffs.edits import TariffSpec, create_tariff, end_tariff, revise_tariff
from fleet.rentals.tariffs.models import Tariff
from fleet.rentals.tariffs.queries import Scope, find_tariffs, tariff_in_force, terms
from fleet.stations.models import Station, Venue
from tests.factories import add_station
from tests.fleet.rentals.world import HOUR, World

DAY = timedelta(days=1)
TERMS = TariffTerms(
    currency="EUR",
    unlock_minor=100,
    free_period=timedelta(0),
    interval_minor=50,
    interval_length=timedelta(minutes=30),
    daily_cap_minor=1000,
    total_cap_minor=3000,
    hold_minor=500,
    overdue_after=timedelta(days=2),
    buyout_after=timedelta(days=5),
    multipliers=(Multiplier((6, 7), 18, 24, 15_000),),
    rounding_step_minor=5,
    late=LateTerms(20_000, 30, timedelta(minutes=3), 400),
)


@pytest.fixture
def station(session: Session, now: datetime) -> Station:
    session.add(Country(iso_code="CH", name="Switzerland", dial_code="+41", currency="CHF", locale="de", time_zone="x"))
    venue = Venue(code="HB", name="Main station", created_at=now, updated_at=now)
    session.add(venue)
    session.flush()
    station = add_station(session, now, "Z", city="Zürich", country="CH", time_zone="Europe/Zurich")
    station.venue_id = venue.id
    session.flush()
    return station


def create(session: Session, now: datetime, scope: Scope | None = None, **more: Any) -> Tariff:
    name = more.pop("name", "tests")
    times = {key: more.pop(key) for key in ("valid_from", "valid_to") if key in more}
    return create_tariff(session, TariffSpec(name, scope or Scope(), replace(TERMS, **more), **times), now)


def in_force(session: Session, station: Station, now: datetime) -> str | None:
    found = tariff_in_force(session, station, now)
    return None if found is None else found.name


def test_the_most_specific_one_counts(session: Session, station: Station, now: datetime) -> None:
    assert in_force(session, station, now) is None
    for scope, name in (
        (Scope(), "everywhere"),
        (Scope(country="CH"), "country"),
        (Scope(city="Zürich"), "city"),
        (Scope(city="Zürich", country="CH"), "city of the country"),
        (Scope(venue_id=station.venue_id), "venue"),
        (Scope(station_id=station.id), "station"),
    ):
        create(session, now, scope, name=name)
        assert in_force(session, station, now) == name
    elsewhere = add_station(session, now, "E", city="Genève")
    assert in_force(session, elsewhere, now) == "everywhere"


def test_a_tariff_is_found_as_it_was_made(session: Session, station: Station, now: datetime) -> None:
    create(session, now)
    found = tariff_in_force(session, station, now)
    assert found is not None
    assert found.terms == TERMS


def test_it_holds_from_its_begin_until_its_end(session: Session, station: Station, now: datetime) -> None:
    create(session, now, valid_from=now + DAY, valid_to=now + 2 * DAY)
    create(session, now, valid_from=now + 2 * DAY, name="next")
    moments = (now, now + DAY, now + 2 * DAY - timedelta(microseconds=1), now + 2 * DAY)
    assert [in_force(session, station, at) for at in moments] == [None, "tests", "tests", "next"]


@pytest.mark.parametrize("scope", [Scope(), Scope(city="Zürich", country="CH"), Scope(country="CH")])
def test_no_two_at_once_for_the_same_place(session: Session, station: Station, now: datetime, scope: Scope) -> None:
    first = create(session, now, scope, valid_to=now + DAY)
    with pytest.raises(TariffOverlap), session.begin_nested():
        create(session, now, scope, valid_from=now + DAY - timedelta(seconds=1))
    create(session, now, scope, valid_from=now + DAY)
    with pytest.raises(IntegrityError, match="ex_tariff_overlap"), session.begin_nested():
        session.execute(update(Tariff).where(Tariff.id == first.id).values(valid_to=None))


def test_an_edit_is_a_new_version(session: Session, station: Station, now: datetime) -> None:
    first = create(session, now)
    second = revise_tariff(session, first.id, replace(TERMS, unlock_minor=200), now + HOUR, valid_from=now + DAY)
    assert (second.version, second.series_id, first.valid_to) == (2, first.series_id, now + DAY)
    assert [terms(each).unlock_minor for each in (first, second)] == [100, 200]
    before, after = (tariff_in_force(session, station, now + when) for when in (HOUR, DAY))
    assert before is not None
    assert after is not None
    assert (before.version, after.version) == (1, 2)
    assert [each.version for each in find_tariffs(session, limit=5, series_id=first.series_id)] == [2, 1]


def test_a_version_that_has_not_begun_is_replaced_before_it_does(
    session: Session, station: Station, now: datetime
) -> None:
    first = create(session, now, valid_from=now + 3 * DAY)
    revise_tariff(session, first.id, replace(TERMS, unlock_minor=200), now, valid_from=now + DAY)
    found = tariff_in_force(session, station, now + 4 * DAY)
    assert found is not None
    assert (found.version, found.terms.unlock_minor, first.valid_to) == (2, 200, first.valid_from)


def test_only_the_newest_version_is_edited(session: Session, now: datetime) -> None:
    first = create(session, now)
    revise_tariff(session, first.id, TERMS, now)
    with pytest.raises(TariffRevised):
        revise_tariff(session, first.id, TERMS, now)
    with pytest.raises(TariffRevised):
        end_tariff(session, first.id, None, now)
    with pytest.raises(TariffNotFound):
        end_tariff(session, first.series_id, None, now)


def test_an_end(session: Session, station: Station, now: datetime) -> None:
    tariff = create(session, now)
    for _ in range(2):
        end_tariff(session, tariff.id, now + DAY, now)
        assert tariff.valid_to == now + DAY
    assert in_force(session, station, now + DAY) is None
    with pytest.raises(InvalidInput, match="ended"):
        revise_tariff(session, tariff.id, TERMS, now + 2 * DAY)


@pytest.mark.parametrize("change", ["unlock_minor = 0", "valid_from = now()", "multipliers = '[]'", "city = 'Bern'"])
def test_the_database_keeps_a_version_as_it_is(session: Session, now: datetime, change: str) -> None:
    create(session, now)
    with pytest.raises(IntegrityError, match="never changes"), session.begin_nested():
        session.execute(text(f"UPDATE tariff SET {change}"))
    with pytest.raises(IntegrityError, match="never changes"), session.begin_nested():
        session.execute(text("DELETE FROM tariff"))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"unlock_minor": -1}, "unlock_minor"),
        ({"interval_length": timedelta(0)}, "interval_length"),
        ({"multipliers": (Multiplier((8,), 0, 24, 10_000),)}, "multipliers"),
        ({"multipliers": (Multiplier((1,), 22, 6, 10_000),)}, "multipliers"),
        ({"rounding_step_minor": 0}, "rounding_step_minor"),
        ({"rounding_step_minor": 1000}, "rounding_step_minor"),
        ({"late": LateTerms(multiplier_bp=9_999)}, "late"),
        ({"late": LateTerms(hourly_minor=-1)}, "late"),
        ({"tax": TaxTerms("VAT", 10_001)}, "tax"),
        ({"total_cap_minor": 0}, "buyout_after"),
        ({"buyout_after": DAY}, "buyout_after"),
        ({"currency": "eur"}, "currency"),
        ({"valid_to": datetime(2026, 11, 23, 12, 0).astimezone()}, "valid_to"),
    ],
)
def test_what_nobody_can_have_meant(session: Session, now: datetime, changes: dict[str, Any], field: str) -> None:
    if "valid_to" in changes:
        changes = {"valid_to": now}
    with pytest.raises(InvalidInput) as refused:
        create(session, now, **changes)
    assert refused.value.attributes["field"] == field


def test_the_past_is_not_changed(session: Session, now: datetime) -> None:
    with pytest.raises(InvalidInput, match="past"):
        create(session, now, valid_from=now - HOUR)


@pytest.mark.parametrize("scope", [Scope(station_id=1, city="Bern"), Scope(venue_id=1, country="CH")])
def test_a_tariff_is_for_one_place(session: Session, now: datetime, scope: Scope) -> None:
    with pytest.raises(InvalidInput, match="one of"):
        create(session, now, scope)


def test_taxes_of_a_country(session: Session, station: Station, now: datetime) -> None:
    create(session, now)
    set_rate(session, "CH", name="MWST", basis_points=770, now=now)
    assert set_rate(session, "CH", name="MWST", basis_points=810, now=now, valid_from=now + DAY).basis_points == 810
    set_rate(session, "CH", name="MWST", basis_points=810, now=now, valid_from=now + DAY)  # again: nothing
    found = [tariff_in_force(session, station, at) for at in (now, now + DAY)]
    assert [each.terms.tax for each in found if each is not None] == [
        TaxTerms("MWST", 770, inclusive=True),
        TaxTerms("MWST", 810, inclusive=True),
    ]
    assert load_tax_rates(session, [{"country": "CH", "name": "VAT", "basis_points": 1}], now) == 0
    for country, basis_points in (("XX", 100), ("CH", 10_001)):
        with pytest.raises(InvalidInput):
            set_rate(session, country, name="VAT", basis_points=basis_points, now=now)


def test_a_running_rental_keeps_what_it_began_with(world: World) -> None:
    rental = world.rent()
    tariff = world.session.get_one(Tariff, rental.tariff_id)
    before = terms_of(rental)
    revise_tariff(world.session, tariff.id, replace(terms(tariff), unlock_minor=999, interval_minor=999), world.now)
    world.session.add(
        Country(iso_code="CH", name="Switzerland", dial_code="+41", currency="CHF", locale="de", time_zone="x")
    )
    world.session.flush()
    set_rate(world.session, "CH", name="MWST", basis_points=5_000, now=world.now)
    world.later(HOUR)
    world.inserted("B", 1, world.serial(rental))
    assert terms_of(rental) == before
    assert rental.price_minor == 100 + 2 * 50
    world.check_everything()
