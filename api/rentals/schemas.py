from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.schemas import Input, Instant, MoneyOut, Schema
from api.stations.schemas import TariffOut
from fleet.rentals.models import PayMode, Rental, RentalState, SwapReason
from fleet.rentals.pricing.price import LineKind, Price, PriceLine
from fleet.rentals.pricing.terms import Prepaid
from fleet.rentals.queries import Shown
from fleet.rentals.starts.payment_plans import PaymentPlan, plan_of
from fleet.rentals.starts.quotes import Quote
from fleet.rentals.tariffs.models import PackageKind, RentalPackage

StationCode = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["ZRH-0001"])]


class QuoteOut(Schema):
    """What a rental from here would cost and whether it could start now."""

    station: str
    tariff: TariffOut
    minutes: int
    price: Annotated["PriceOut", Field(description="of a rental that begins now, if the bank is out for `minutes`")]
    available: Annotated[MoneyOut, Field(description="in the wallet")]
    points: Annotated[MoneyOut, Field(description="of points money")]
    holds: Annotated["HeldOut", Field(description="what a start that is paid like this would set aside")]
    can_start: Annotated[bool, Field(description="as far as can be known before the cabinet moves")]
    reason: Annotated[str | None, Field(description="why not, as the `code` that a start would answer")]
    charge_pct: Annotated[int | None, Field(description="of the bank that would be chosen")]

    @classmethod
    def of(cls, found: Quote, now: datetime) -> "QuoteOut":
        return cls(
            station=found.station.code,
            tariff=TariffOut.of(found.terms),
            minutes=int(found.duration.total_seconds() // 60),
            price=PriceOut.of(found.price, final=False, at=now + found.duration),
            available=MoneyOut.model_validate(found.available),
            points=MoneyOut.model_validate(found.points),
            holds=HeldOut(
                points=MoneyOut.model_validate(found.hold_points),
                wallet=MoneyOut.model_validate(found.hold_wallet),
                card=MoneyOut.model_validate(found.hold_card),
            ),
            can_start=found.can_start,
            reason=found.reason,
            charge_pct=found.charge_pct,
        )


class PayIn(Input):
    """What stands for a rental. Points pay first as far as they may, then the wallet, then the card."""

    pay: Annotated[
        PayMode,
        Field(
            description="`points`: their money is held; `split`: points, and the wallet for the rest; `card`: answered "
            "with 402 and an intent to confirm"
        ),
    ] = PayMode.WALLET
    points_minor: Annotated[
        int | None,
        Field(
            gt=0,
            le=100_000_000,
            description="with `split` or `card`: exactly so much of it with points (minor units); left out, `split` "
            "takes what there is and `card` none",
        ),
    ] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.points_minor is not None and self.pay not in {PayMode.SPLIT, PayMode.CARD}:
            raise ValueError("points_minor goes with split or card")
        return self

    def plan(self) -> PaymentPlan:
        return plan_of(self.pay, self.points_minor)


class QuoteIn(PayIn):
    model_config = ConfigDict(json_schema_extra={"examples": [{"station": "ZRH-0001"}]})

    station: StationCode
    minutes: Annotated[
        int, Field(ge=0, le=60 * 24 * 366, description="how long the rental lasts whose price is shown")
    ] = 60
    package: Annotated[UUID | None, Field(description="begun with this package")] = None


class HeldOut(Schema):
    """What a start sets aside of each purse; the card's part is asked for with 402."""

    points: MoneyOut
    wallet: MoneyOut
    card: MoneyOut


class StartIn(PayIn):
    model_config = ConfigDict(json_schema_extra={"examples": [{"station": "ZRH-0001"}]})

    station: StationCode
    slot: Annotated[int | None, Field(ge=1, le=512, description="left out: the best bank is chosen")] = None
    package: Annotated[UUID | None, Field(description="left out: time costs what the tariff says")] = None
    method_id: Annotated[
        UUID | None, Field(description="with `card`: a saved card, which is asked at once; left out: answered with 402")
    ] = None

    @model_validator(mode="after")
    def _method_is_a_card(self) -> Self:
        if self.method_id is not None and self.pay is not PayMode.CARD:
            raise ValueError("method_id goes with card")
        return self


class PackageOut(Schema):
    """Time at a fixed price. A prepaid one's price is held from the start on; a postpaid one is paid at the end."""

    id: UUID
    name: Annotated[str, Field(examples=["4 hours"])]
    kind: PackageKind
    minutes: int
    price: MoneyOut
    minimum_balance: Annotated[MoneyOut, Field(description="what the wallet must have for a postpaid one")]

    @classmethod
    def of(cls, package: RentalPackage) -> Self:
        return cls.model_validate(cls.values_of(package))

    @staticmethod
    def values_of(package: RentalPackage) -> dict[str, Any]:
        return {
            "id": package.id,
            "name": package.name,
            "kind": package.kind,
            "minutes": int(package.duration.total_seconds() // 60),
            "price": MoneyOut.of(package.price_minor, package.currency),
            "minimum_balance": MoneyOut.of(package.minimum_balance_minor, package.currency),
        }


class Packages(Schema):
    items: list[PackageOut]


class SwapIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"station": "ZRH-0001", "reason": "low_battery"}]})

    station: Annotated[StationCode, Field(description="where the rider stands")]
    reason: SwapReason


class ExtendIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"package": "0197a2c4-5f1e-7c3a-9a64-0b8f7d3c2e10"}]})

    package: UUID


class PrepaidOut(Schema):
    name: str
    minutes: int
    price: MoneyOut
    bought_at: Annotated[Instant | None, Field(description="null: with the start")]

    @classmethod
    def of(cls, prepaid: Prepaid, currency: str) -> "PrepaidOut":
        return cls(
            name=prepaid.name,
            minutes=int(prepaid.duration.total_seconds() // 60),
            price=MoneyOut.of(prepaid.price_minor, currency),
            bought_at=prepaid.bought_at,
        )


class PriceLineOut(Schema):
    """Why an amount is what it is."""

    kind: Annotated[LineKind, Field(examples=["usage"])]
    text: Annotated[str, Field(examples=["2026-11-23: 2 x 30 min at 1.00 EUR"])]
    amount: MoneyOut

    @classmethod
    def of(cls, line: PriceLine, currency: str) -> "PriceLineOut":
        return cls(kind=LineKind(line.kind), text=line.text, amount=MoneyOut.of(line.amount_minor, currency))


class PriceOut(Schema):
    """The amounts of the lines add up to the total exactly."""

    total: MoneyOut
    tax: Annotated[MoneyOut, Field(description="contained in the total")]
    lines: list[PriceLineOut]
    final: Annotated[bool, Field(description="false: what it would cost if the bank came back at `at`")]
    at: Instant

    @classmethod
    def of(cls, price: Price, *, final: bool, at: datetime) -> "PriceOut":
        return cls(
            total=MoneyOut.of(price.total_minor, price.currency),
            tax=MoneyOut.of(price.tax_minor, price.currency),
            lines=[PriceLineOut.of(line, price.currency) for line in price.lines],
            final=final,
            at=at,
        )


class RentalOut(Schema):
    id: UUID
    state: RentalState
    station_out: str
    slot_out: int
    station_in: str | None
    slot_in: int | None
    power_bank: Annotated[str, Field(description="serial, as its label shows it")]
    charge_out_pct: int | None
    charge_in_pct: int | None
    requested_at: Instant
    started_at: Annotated[Instant | None, Field(description="when the bank left")]
    ended_at: Annotated[Instant | None, Field(description="when it was back, or counted as bought or lost")]
    swap_under_way: Annotated[bool, Field(description="another bank comes when this one is put back in time")]
    due_at: Annotated[Instant | None, Field(description="when it has to be back")]
    buyout_at: Annotated[
        Instant | None,
        Field(description="when the bank will count as bought or lost; null: not foreseen, or over"),
    ]
    billing_paused: Annotated[bool, Field(description="its clock stands still: a return that does not work, a claim")]
    packages: Annotated[list[PrepaidOut], Field(description="time that is paid for; extensions too")]
    pay: Annotated[PayMode, Field(description="what stands for it")]
    price: Annotated[MoneyOut | None, Field(description="null until it is closed")]
    charged: Annotated[
        MoneyOut, Field(description="paid for its price; what came back beside the price is in the receipt")
    ]
    due: Annotated[MoneyOut, Field(description="owed beyond what the wallet held: `/payment/debts`")]
    written_off: Annotated[MoneyOut, Field(description="what of it is not asked for any more")]
    failure_code: Annotated[str | None, Field(examples=["slot_jammed"])]

    @classmethod
    def of(cls, rental: Rental | Shown) -> Self:
        return cls.model_validate(cls.values_of(rental))

    @staticmethod
    def values_of(rental: Rental | Shown) -> dict[str, Any]:
        """A `Rental` has its stations and its bank loaded."""
        shown = Shown.of(rental) if isinstance(rental, Rental) else rental

        def money(amount_minor: int) -> MoneyOut:
            return MoneyOut.of(amount_minor, shown.currency)

        return {
            "id": shown.id,
            "state": shown.state,
            "station_out": shown.station_out,
            "slot_out": shown.slot_out,
            "station_in": shown.station_in,
            "slot_in": shown.slot_in,
            "power_bank": shown.power_bank,
            "charge_out_pct": shown.charge_out_pct,
            "charge_in_pct": shown.charge_in_pct,
            "requested_at": shown.requested_at,
            "started_at": shown.started_at,
            "ended_at": shown.ended_at,
            "swap_under_way": shown.swap_id is not None,
            "due_at": shown.overdue_at,
            "buyout_at": shown.buyout_at if shown.closed_at is None else None,
            "billing_paused": shown.closed_at is None and any(end is None for _, end in shown.paused),
            "packages": [PrepaidOut.of(Prepaid.from_json(each), shown.currency) for each in shown.prepaid],
            "pay": shown.pay,
            "price": money(shown.price_minor) if shown.price_minor is not None else None,
            "charged": money(shown.charged_minor),
            "due": money(shown.due_minor),
            "written_off": money(shown.written_off_minor),
            "failure_code": shown.failure_code,
        }


class Rentals(Schema):
    items: list[RentalOut]
