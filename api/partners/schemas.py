from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.schemas import Currency, Input, Instant, MoneyIn, MoneyOut, Schema
from api.stations.schemas import SlotOut
from fleet.partners.models import (
    Partner,
    PartnerKind,
    PartnerStatus,
    PayoutRequest,
    PayoutState,
    RevenueAgreement,
    RevenueShare,
    ShareKind,
)
from fleet.partners.queries import OwnStation, Revenue
from fleet.partners.rules import Terms
from fleet.payments.ledger import Totals
from fleet.stations.models import StationStatus

#: What the house takes of the gross unless something else was agreed.
SERVICE_CHARGE_BP = 250
StationCode = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["ZRH-0001"])]
TimeZone = Annotated[str, Field(max_length=64, examples=["Europe/Zurich"])]
Name = Annotated[str, Field(min_length=1, max_length=200, examples=["Kiosk at the station"])]


class PartnerOut(Schema):
    id: UUID
    name: str
    kind: PartnerKind
    parent_id: UUID | None
    status: PartnerStatus
    time_zone: str
    created_at: Instant


class Partners(Schema):
    items: list[PartnerOut]


class BalanceOut(Schema):
    """`available` can be asked for; `held` is in payouts under way. Negative: a refund took back what was paid out."""

    balance: MoneyOut
    held: MoneyOut
    available: MoneyOut

    @classmethod
    def of(cls, found: Totals) -> "BalanceOut":
        return cls(
            balance=MoneyOut.of(found.balance_minor, found.currency),
            held=MoneyOut.of(found.debits_pending, found.currency),
            available=MoneyOut.of(found.available_minor, found.currency),
        )


class PartnerSelf(Schema):
    partner: PartnerOut
    money: BalanceOut

    @classmethod
    def of(cls, partner: Partner, found: Totals) -> "PartnerSelf":
        return cls(partner=PartnerOut.model_validate(partner), money=BalanceOut.of(found))


class MemberIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"address": "ada@example.com"}]})

    address: Annotated[str, Field(max_length=254, description="phone (E.164) or e-mail address; codes go there")]


class MemberOut(Schema):
    user_id: UUID
    partner_id: UUID
    added_at: Instant


class Members(Schema):
    items: list[MemberOut]


class VendorIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Kiosk", "time_zone": "Europe/Zurich"}]})

    name: Name
    time_zone: TimeZone = "UTC"


class PartnerStationOut(Schema):
    code: str
    name: str
    partner_id: UUID
    partner: str
    status: StationStatus
    online: bool
    heard_at: Instant | None
    slots: int
    banks: int

    @classmethod
    def of(cls, row: OwnStation) -> "PartnerStationOut":
        station = row.station
        return cls(
            code=station.code,
            name=station.name,
            partner_id=row.partner_id,
            partner=row.partner_name,
            status=station.status,
            online=station.online,
            heard_at=station.last_heard_at,
            slots=station.slot_count,
            banks=row.banks,
        )


class PartnerStationDetail(Schema):
    """As it is now. What the cabinet calls itself is not told: it is half of what lets one in."""

    code: str
    name: str
    status: StationStatus
    online: bool
    heard_at: Instant | None
    slots: int
    banks_available: int
    slots_free: int
    slot_list: list[SlotOut]


class AgreementIn(Input):
    """`percent` has `basis_points` of a rental's net, `fixed` has `fixed_minor` of every rental."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "percent", "basis_points": 3000, "currency": "EUR"}]}
    )

    kind: ShareKind
    basis_points: Annotated[int | None, Field(ge=0, le=10_000)] = None
    fixed_minor: Annotated[int | None, Field(gt=0, le=1_000_000)] = None
    currency: Currency
    service_charge_bp: Annotated[int, Field(ge=0, le=10_000, description="what the house takes of the gross")] = (
        SERVICE_CHARGE_BP
    )
    station: Annotated[StationCode | None, Field(description="left out: all without an agreement of their own")] = None
    valid_from: Annotated[Instant | None, Field(description="left out: now")] = None
    valid_to: Instant | None = None

    @model_validator(mode="after")
    def _one_value(self) -> "AgreementIn":
        wanted, other = self.basis_points, self.fixed_minor
        if self.kind is ShareKind.FIXED:
            wanted, other = other, wanted
        if wanted is None or other is not None:
            raise ValueError("percent has basis_points, fixed has fixed_minor, and neither has both")
        return self

    def terms(self) -> Terms:
        value = self.basis_points if self.kind is ShareKind.PERCENT else self.fixed_minor
        return Terms(self.kind, value or 0)


class AgreementOut(Schema):
    id: UUID
    partner_id: UUID
    station_id: int | None
    kind: ShareKind
    basis_points: int | None
    fixed_minor: int | None
    currency: Currency
    service_charge_bp: int
    valid_from: Instant
    valid_to: Instant | None

    @classmethod
    def of(cls, row: RevenueAgreement) -> "AgreementOut":
        return cls.model_validate(row)


class Agreements(Schema):
    items: list[AgreementOut]


class ShareOut(Schema):
    """net = gross - tax - service charge; `amount` of it is the partner's, as it stands now."""

    id: UUID
    rental_id: UUID
    station: str
    at: Instant
    gross: MoneyOut
    tax: MoneyOut
    service_charge: MoneyOut
    net: MoneyOut
    amount: MoneyOut

    @classmethod
    def of(cls, row: RevenueShare) -> "ShareOut":
        return cls(
            id=row.id,
            rental_id=row.rental_id,
            station=row.station.code,
            at=row.at,
            gross=MoneyOut.of(row.gross_minor, row.currency),
            tax=MoneyOut.of(row.tax_minor, row.currency),
            service_charge=MoneyOut.of(row.service_charge_minor, row.currency),
            net=MoneyOut.of(row.net_minor, row.currency),
            amount=MoneyOut.of(row.amount_minor, row.currency),
        )


class RevenueOut(Schema):
    begins: date
    rentals: int
    gross: MoneyOut
    net: MoneyOut
    amount: MoneyOut

    @classmethod
    def of(cls, row: Revenue, currency: str) -> "RevenueOut":
        return cls(
            begins=row.begins,
            rentals=row.rentals,
            gross=MoneyOut.of(row.gross_minor, currency),
            net=MoneyOut.of(row.net_minor, currency),
            amount=MoneyOut.of(row.amount_minor, currency),
        )


class RevenueReport(Schema):
    """Every period of the partner's own calendar, empty ones too."""

    items: list[RevenueOut]


class PayoutIn(MoneyIn):
    model_config = ConfigDict(json_schema_extra={"examples": [{"amount_minor": 20000, "currency": "EUR"}]})


class PayoutOut(Schema):
    id: UUID
    partner_id: UUID
    amount: MoneyOut
    state: PayoutState
    requested_by: UUID
    requested_at: Instant
    decided_by: UUID | None
    decided_at: Instant | None
    finished_at: Instant | None
    provider: Annotated[str | None, Field(description="the payment provider that sends it; null: a bank")]
    reference: str | None
    reason: str | None

    @classmethod
    def of(cls, row: PayoutRequest) -> "PayoutOut":
        return cls(
            id=row.id,
            partner_id=row.partner_id,
            amount=MoneyOut.of(row.amount_minor, row.currency),
            state=row.state,
            requested_by=row.requested_by,
            requested_at=row.requested_at,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
            finished_at=row.finished_at,
            provider=row.provider,
            reference=row.reference,
            reason=row.reason,
        )
