from datetime import timedelta
from typing import Annotated, cast

from pydantic import Field, field_validator

from api.schemas import Instant, MoneyOut, Schema
from firmware_protocol.types import SlotState
from fleet.common.money import WHOLE_BP
from fleet.rentals.pricing.terms import TariffTerms
from fleet.stations.models import StationStatus
from fleet.stations.queries import StationView


class StationSummary(Schema):
    """What a map or a list shows."""

    code: Annotated[str, Field(examples=["ZRH-0001"])]
    name: str
    address: str | None
    city: str | None
    latitude: Annotated[float, Field(ge=-90, le=90, examples=[47.3769])]
    longitude: Annotated[float, Field(ge=-180, le=180, examples=[8.5417])]
    status: StationStatus
    online: bool
    slots: Annotated[int, Field(description="slots the station has")]
    banks_available: Annotated[int, Field(description="banks a rider could take now")]
    slots_free: Annotated[int, Field(description="slots that could take a bank back now")]


class NearbyStation(StationSummary):
    distance_m: Annotated[int, Field(examples=[240])]

    @field_validator("distance_m", mode="before")
    @classmethod
    def _whole(cls, value: float) -> int:
        return round(value)


class Nearby(Schema):
    """Nearest first."""

    items: list[NearbyStation]


class SlotOut(Schema):
    number: int
    state: SlotState
    charge_pct: Annotated[int | None, Field(description="of the bank in it")]
    rentable: bool
    returnable: bool


class MultiplierOut(Schema):
    """What an interval costs that begins in these local hours, in hundredths of a per cent (10,000: as usual)."""

    weekdays: Annotated[list[int], Field(description="1 Monday … 7 Sunday")]
    from_hour: int
    to_hour: Annotated[int, Field(description="not included; 24 is midnight")]
    basis_points: int


class LateFeeOut(Schema):
    """What being late costs besides the time; nothing within the grace period."""

    percent_bp: Annotated[int, Field(description="on top of late time, in hundredths of a per cent")]
    per_hour: Annotated[MoneyOut, Field(description="for each hour begun")]
    grace_s: int
    daily_cap: Annotated[MoneyOut | None, Field(description="most per local day; null: no cap")]


class TaxOut(Schema):
    name: str
    basis_points: int
    inclusive: Annotated[bool, Field(description="whether the tariff's amounts contain it")]


class TariffOut(Schema):
    """What a rental from here costs. It is frozen into the rental at its start."""

    unlock: MoneyOut
    free_minutes: int
    interval_price: MoneyOut
    interval_minutes: int
    daily_cap: Annotated[MoneyOut | None, Field(description="most per local day; null: no cap")]
    total_cap: Annotated[MoneyOut | None, Field(description="most a rental can ever cost; null: no cap")]
    hold: Annotated[MoneyOut, Field(description="held on the wallet at the start")]
    overdue_after_minutes: int
    buyout_after_minutes: Annotated[int | None, Field(description="null: when the price reaches the total cap")]
    lost_after_minutes: Annotated[int | None, Field(description="after the due time; null: never")]
    lost_fee: Annotated[MoneyOut | None, Field(description="for a lost bank, given back when it comes back")]
    reservation_fee: Annotated[MoneyOut | None, Field(description="for a reserved bank that nobody fetches")]
    multipliers: list[MultiplierOut]
    late_fee: LateFeeOut | None
    tax: TaxOut | None

    @classmethod
    def of(cls, terms: TariffTerms) -> "TariffOut":
        def money(amount_minor: int) -> MoneyOut:
            return MoneyOut.of(amount_minor, terms.currency)

        return cls(
            unlock=money(terms.unlock_minor),
            free_minutes=_minutes(terms.free_period),
            interval_price=money(terms.interval_minor),
            interval_minutes=_minutes(terms.interval_length),
            daily_cap=money(terms.daily_cap_minor) if terms.daily_cap_minor else None,
            total_cap=money(terms.total_cap_minor) if terms.total_cap_minor else None,
            hold=money(terms.hold_minor),
            overdue_after_minutes=_minutes(terms.overdue_after),
            buyout_after_minutes=None if terms.buyout_after is None else _minutes(terms.buyout_after),
            lost_after_minutes=None if terms.lost_after is None else _minutes(terms.lost_after),
            lost_fee=None if terms.lost_after is None else money(terms.lost_fee_minor),
            reservation_fee=money(terms.reservation_fee_minor) if terms.reservation_fee_minor else None,
            multipliers=[MultiplierOut.model_validate(each) for each in terms.multipliers],
            late_fee=None if terms.late.nothing else _late_fee(terms),
            tax=TaxOut.model_validate(terms.tax) if terms.tax.basis_points else None,
        )


def _late_fee(terms: TariffTerms) -> LateFeeOut:
    late = terms.late
    return LateFeeOut(
        percent_bp=late.multiplier_bp - WHOLE_BP,
        per_hour=MoneyOut.of(late.hourly_minor, terms.currency),
        grace_s=int(late.grace.total_seconds()),
        daily_cap=MoneyOut.of(late.daily_cap_minor, terms.currency) if late.daily_cap_minor else None,
    )


def _minutes(duration: timedelta) -> int:
    return int(duration.total_seconds() // 60)


class StationPage(StationSummary):
    """One station as its page shows it. `heard_at` and `inventory_at` tell how old the picture is."""

    time_zone: str
    slot_list: list[SlotOut]
    tariff: Annotated[TariffOut | None, Field(description="null: nothing can be rented here now")]
    heard_at: Annotated[Instant | None, Field(description="when the cabinet last spoke")]
    inventory_at: Annotated[Instant | None, Field(description="every slot's picture is at least as new")]

    @classmethod
    def of(cls, found: StationView, terms: TariffTerms | None) -> "StationPage":
        return cls(
            code=found.code,
            name=found.name,
            address=found.address,
            city=found.city,
            latitude=found.latitude,
            longitude=found.longitude,
            status=found.status,
            online=found.online,
            slots=found.slots,
            banks_available=found.banks_available,
            slots_free=found.slots_free,
            time_zone=found.time_zone,
            slot_list=cast("list[SlotOut]", found.slot_list),  # read from their attributes
            tariff=TariffOut.of(terms) if terms is not None else None,
            heard_at=found.heard_at,
            inventory_at=found.inventory_at,
        )


class StationLive(Schema):
    """What changes while somebody looks at a map."""

    code: str
    status: StationStatus
    online: bool
    banks_available: int
    slots_free: int
