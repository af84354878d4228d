from datetime import timedelta
from typing import Annotated, Self
from uuid import UUID

from pydantic import ConfigDict, Field, JsonValue, model_validator

from api.rentals.schemas import PriceOut
from api.schemas import Currency, Input, Instant, MoneyOut, Schema
from fleet.payments.models import TaxRate
from fleet.rentals.pricing.terms import LATE_GRACE, LateTerms, Multiplier, Prepaid, TariffTerms, TaxTerms
from fleet.rentals.tariffs.models import Tariff
from fleet.rentals.tariffs.queries import terms as terms_of

Amount = Annotated[int, Field(ge=0, le=1_000_000_000, description="minor units")]
Minutes = Annotated[int, Field(ge=0, le=60 * 24 * 366)]
Cap = Annotated[int, Field(ge=0, le=1_000_000_000, description="minor units; 0: no cap")]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$", examples=["CH"])]
Zone = Annotated[str, Field(max_length=64, examples=["Europe/Zurich"])]

_EXAMPLE: dict[str, JsonValue] = {
    "name": "City centre", "scope": {"city": "Zürich", "country": "CH"}, "currency": "CHF", "unlock_minor": 100,
    "free_minutes": 5, "interval_minor": 50, "interval_minutes": 30, "daily_cap_minor": 900, "total_cap_minor": 4000,
    "hold_minor": 500, "overdue_after_minutes": 2880, "buyout_after_minutes": 7200, "rounding_step_minor": 5,
    "multipliers": [{"weekdays": [6, 7], "from_hour": 18, "to_hour": 24, "basis_points": 15000}],
    "late": {"multiplier_bp": 20000, "hourly_minor": 50, "grace_seconds": 120, "daily_cap_minor": 500},
}  # fmt: skip


class MultiplierIn(Input):
    """The first that fits the local hour and weekday on which an interval begins counts."""

    weekdays: Annotated[list[Annotated[int, Field(ge=1, le=7)]], Field(min_length=1, max_length=7)]
    from_hour: Annotated[int, Field(ge=0, le=23)]
    to_hour: Annotated[int, Field(ge=1, le=24, description="not included")]
    basis_points: Annotated[int, Field(ge=0, le=1_000_000, description="10,000 is the usual price")]


class LateIn(Input):
    """By multiplier, flat per hour begun, or both. Within the grace nothing; after it from the due time on."""

    multiplier_bp: Annotated[int, Field(ge=10_000, le=1_000_000, description="20,000: late time costs twice")] = 10_000
    hourly_minor: Amount = 0
    grace_seconds: Annotated[int, Field(ge=0, le=86_400)] = int(LATE_GRACE.total_seconds())
    daily_cap_minor: Cap = 0

    def terms(self) -> LateTerms:
        return LateTerms(
            self.multiplier_bp, self.hourly_minor, timedelta(seconds=self.grace_seconds), self.daily_cap_minor
        )


class TermsIn(Input):
    """What a rental costs; amounts in minor units."""

    currency: Currency
    unlock_minor: Amount
    free_minutes: Minutes = 0
    interval_minor: Amount
    interval_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 31)]
    daily_cap_minor: Cap = 0
    total_cap_minor: Annotated[Cap, Field(description="also the price of a bank that is never brought back; 0: none")]
    hold_minor: Amount
    overdue_after_minutes: Minutes
    buyout_after_minutes: Annotated[
        Minutes | None, Field(description="null: a bank is bought when its price reaches the total cap")
    ] = None
    lost_after_minutes: Annotated[
        Minutes | None, Field(description="after the due time; null: a bank does not count as lost")
    ] = None
    lost_fee_minor: Annotated[Amount, Field(description="what a lost bank costs besides the time")] = 0
    reservation_fee_minor: Annotated[Amount, Field(description="for a reserved bank that nobody fetches")] = 0
    multipliers: Annotated[tuple[MultiplierIn, ...], Field(max_length=168)] = ()
    rounding_step_minor: Annotated[int, Field(ge=1, le=1000, description="what is paid is a multiple of it")] = 1
    tax_inclusive: Annotated[bool, Field(description="whether the amounts contain the country's tax")] = True
    late: LateIn = LateIn()

    def terms(self, tax: TaxTerms | None = None) -> TariffTerms:
        return TariffTerms(
            currency=self.currency,
            unlock_minor=self.unlock_minor,
            free_period=timedelta(minutes=self.free_minutes),
            interval_minor=self.interval_minor,
            interval_length=timedelta(minutes=self.interval_minutes),
            daily_cap_minor=self.daily_cap_minor,
            total_cap_minor=self.total_cap_minor,
            hold_minor=self.hold_minor,
            overdue_after=timedelta(minutes=self.overdue_after_minutes),
            lost_after=None if self.lost_after_minutes is None else timedelta(minutes=self.lost_after_minutes),
            lost_fee_minor=self.lost_fee_minor,
            reservation_fee_minor=self.reservation_fee_minor,
            buyout_after=None if self.buyout_after_minutes is None else timedelta(minutes=self.buyout_after_minutes),
            multipliers=tuple(
                Multiplier(tuple(each.weekdays), each.from_hour, each.to_hour, each.basis_points)
                for each in self.multipliers
            ),
            rounding_step_minor=self.rounding_step_minor,
            late=self.late.terms(),
            tax=tax or TaxTerms(inclusive=self.tax_inclusive),
        )

    @classmethod
    def of(cls, terms: TariffTerms) -> "TermsIn":
        def minutes(duration: timedelta) -> int:
            return int(duration.total_seconds() // 60)

        return TermsIn(
            currency=terms.currency,
            unlock_minor=terms.unlock_minor,
            free_minutes=minutes(terms.free_period),
            interval_minor=terms.interval_minor,
            interval_minutes=max(1, minutes(terms.interval_length)),
            daily_cap_minor=terms.daily_cap_minor,
            total_cap_minor=terms.total_cap_minor,
            hold_minor=terms.hold_minor,
            overdue_after_minutes=minutes(terms.overdue_after),
            lost_after_minutes=None if terms.lost_after is None else minutes(terms.lost_after),
            lost_fee_minor=terms.lost_fee_minor,
            reservation_fee_minor=terms.reservation_fee_minor,
            buyout_after_minutes=None if terms.buyout_after is None else minutes(terms.buyout_after),
            multipliers=tuple(
                MultiplierIn(
                    weekdays=list(each.weekdays),
                    from_hour=each.from_hour,
                    to_hour=each.to_hour,
                    basis_points=each.basis_points,
                )
                for each in terms.multipliers
            ),
            rounding_step_minor=terms.rounding_step_minor,
            tax_inclusive=terms.tax.inclusive,
            late=LateIn(
                multiplier_bp=terms.late.multiplier_bp,
                hourly_minor=terms.late.hourly_minor,
                grace_seconds=int(terms.late.grace.total_seconds()),
                daily_cap_minor=terms.late.daily_cap_minor,
            ),
        )


class ScopeIn(Input):
    """One of them (a city with or without its country); nothing: everywhere. The most specific tariff counts."""

    station: Annotated[str | None, Field(max_length=64)] = None
    venue: Annotated[str | None, Field(max_length=64)] = None
    city: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    country: Country | None = None


class TariffIn(TermsIn):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Annotated[str, Field(min_length=1, max_length=100)]
    scope: ScopeIn = ScopeIn()
    valid_from: Annotated[Instant | None, Field(description="left out: from now on")] = None
    valid_to: Instant | None = None


class TariffVersionIn(TermsIn):
    """The whole of the new version; place and end stay."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{key: _EXAMPLE[key] for key in _EXAMPLE if key not in {"scope", "name"}}]}
    )

    name: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    valid_from: Annotated[Instant | None, Field(description="left out: from now on")] = None


class TariffEndIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"at": "2027-01-01T00:00:00Z"}]})

    at: Annotated[Instant | None, Field(description="left out: now")] = None


class TariffVersion(Schema):
    id: UUID
    series_id: Annotated[UUID, Field(description="the same for all versions of a tariff")]
    version: int
    name: str
    scope: Annotated[str, Field(examples=["city:CH:Zürich"])]
    valid_from: Instant
    valid_to: Instant | None
    terms: TermsIn

    @classmethod
    def of(cls, tariff: Tariff) -> "TariffVersion":
        return cls(
            id=tariff.id,
            series_id=tariff.series_id,
            version=tariff.version,
            name=tariff.name,
            scope=tariff.scope,
            valid_from=tariff.valid_from,
            valid_to=tariff.valid_to,
            terms=TermsIn.of(terms_of(tariff)),
        )


class PauseIn(Input):
    begins: Instant
    ends: Instant


class PrepaidIn(Input):
    name: Annotated[str, Field(min_length=1, max_length=100)] = "Package"
    minutes: Annotated[int, Field(ge=1, le=60 * 24 * 366)]
    price_minor: Amount

    def prepaid(self) -> Prepaid:
        return Prepaid(self.name, timedelta(minutes=self.minutes), self.price_minor)


class TryIn(Input):
    """A configuration and an example: `tariff_id` or `terms`, with `late` in the place of its late fees."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "terms": {key: _EXAMPLE[key] for key in _EXAMPLE if key not in {"scope", "name"}},
                    "country": "CH", "time_zone": "Europe/Zurich", "started_at": "2026-11-23T12:00:00Z",
                    "minutes": 3000,
                }
            ]
        }
    )  # fmt: skip

    tariff_id: UUID | None = None
    terms: TermsIn | None = None
    late: LateIn | None = None
    country: Annotated[Country | None, Field(description="whose tax applies; left out: none")] = None
    time_zone: Zone = "UTC"
    started_at: Instant
    minutes: Annotated[int, Field(ge=0, le=60 * 24 * 731)]
    paused: Annotated[tuple[PauseIn, ...], Field(max_length=20)] = ()
    prepaid: Annotated[tuple[PrepaidIn, ...], Field(max_length=10)] = ()

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.tariff_id is None) == (self.terms is None):
            raise ValueError("either tariff_id or terms")
        return self


class TryOut(Schema):
    price: PriceOut
    late_fee: Annotated[MoneyOut, Field(description="contained in the total, unless the total cap took of it")]
    overdue_at: Instant
    buyout_at: Instant | None


class TaxRateIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "MWST", "basis_points": 810}]})

    name: Annotated[str, Field(min_length=1, max_length=32)]
    basis_points: Annotated[int, Field(ge=0, le=10_000)]
    valid_from: Annotated[Instant | None, Field(description="left out: from now on")] = None


class TaxRateOut(Schema):
    country: str
    name: str
    basis_points: int
    valid_from: Instant
    valid_to: Instant | None

    @classmethod
    def of(cls, rate: TaxRate) -> "TaxRateOut":
        return cls.model_validate(rate)


class TaxRates(Schema):
    items: list[TaxRateOut]


class VenueIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Main station", "city": "Zürich"}]})

    name: Annotated[str, Field(min_length=1, max_length=200)]
    address: Annotated[str | None, Field(max_length=300)] = None
    city: Annotated[str | None, Field(max_length=100)] = None
    country: Country | None = None


class VenueOut(Schema):
    code: str
    name: str
    address: str | None
    city: str | None
    country: str | None


class StationVenueIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"venue": "HB"}]})

    venue: Annotated[str | None, Field(max_length=64, description="null: in none")]


class StationVenue(Schema):
    station: str
    venue: str | None
