"""What riders report of a rental, and what they are told."""

from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from api.rentals.schemas import PriceLineOut, StationCode
from api.schemas import Input, Instant, MoneyOut, Schema
from api.stations.schemas import NearbyStation
from fleet.rentals.corrections.models import DisputeReason, DisputeState, RentalDispute
from fleet.rentals.records.receipts import Receipt
from fleet.rentals.underway.models import ClaimState, IssueKind, IssueState, RentalIssue, ReturnClaim
from fleet.rentals.underway.problems import ProblemKind, ReturnProblem

Note = Annotated[str | None, Field(max_length=500, examples=["the slot does not open"])]


class ReturnProblemIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"station": "ZRH-0001", "kind": "full"}]})

    station: StationCode
    kind: ProblemKind
    note: Note = None
    latitude: Annotated[float | None, Field(ge=-90, le=90, description="where you are; left out: there")] = None
    longitude: Annotated[float | None, Field(ge=-180, le=180)] = None

    @model_validator(mode="after")
    def _both(self) -> "ReturnProblemIn":
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("a position is a latitude and a longitude")
        return self

    @property
    def position(self) -> tuple[float, float] | None:
        return None if self.latitude is None or self.longitude is None else (self.latitude, self.longitude)


class ReturnProblemOut(Schema):
    paused_until: Annotated[
        Instant | None, Field(description="nothing is charged until then; null: this rental was paused often enough")
    ]
    pauses_left: int
    stations: Annotated[list[NearbyStation], Field(description="that could take the bank, nearest first")]

    @classmethod
    def of(cls, found: ReturnProblem) -> "ReturnProblemOut":
        return cls.model_validate(found)


class ReturnClaimIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"station": "ZRH-0001", "slot": 3}]})

    station: StationCode
    slot: Annotated[int, Field(ge=1, le=512)]


class ReturnClaimOut(Schema):
    """Nothing is charged from `claimed_at` until it is decided; if it is refuted, that time is charged after all."""

    id: UUID
    rental_id: UUID
    station: str
    slot: int
    state: ClaimState
    claimed_at: Instant
    decided_at: Instant | None

    @classmethod
    def of(cls, claim: ReturnClaim) -> "ReturnClaimOut":
        return cls(
            id=claim.id,
            rental_id=claim.rental_id,
            station=claim.station.code,
            slot=claim.slot_number,
            state=claim.state,
            claimed_at=claim.claimed_at,
            decided_at=claim.decided_at,
        )


class ReturnPhotoOut(Schema):
    """`…/return-claim/photo/{id}` is the picture: JPEG, upright, with nothing in it but what it shows."""

    id: UUID
    width: int
    height: int
    taken_at: Instant


class ReturnPhotos(Schema):
    items: list[ReturnPhotoOut]


class IssueIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "not_charging", "note": "the cable is loose"}]})

    kind: IssueKind
    note: Note = None


class IssueOut(Schema):
    id: UUID
    rental_id: UUID
    kind: IssueKind
    station: str | None
    note: str | None
    state: IssueState
    reported_at: Instant
    resolved_at: Instant | None
    resolution: str | None

    @classmethod
    def of(cls, issue: RentalIssue) -> "IssueOut":
        return cls(
            id=issue.id,
            rental_id=issue.rental_id,
            kind=issue.kind,
            station=None if issue.station is None else issue.station.code,
            note=issue.note,
            state=issue.state,
            reported_at=issue.reported_at,
            resolved_at=issue.resolved_at,
            resolution=issue.resolution,
        )


class Issues(Schema):
    items: list[IssueOut]


class DisputeIn(Input):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "returned", "note": "it was back at noon, slot 3"}]}
    )

    reason: DisputeReason
    note: Annotated[str | None, Field(max_length=1000)] = None


class DisputeOut(Schema):
    id: UUID
    rental_id: UUID
    reason: DisputeReason
    note: str | None
    state: DisputeState
    opened_at: Instant
    decided_at: Instant | None
    decision: Annotated[str | None, Field(description="in words")]
    refund: Annotated[MoneyOut | None, Field(description="what the rental became cheaper by; null while it is open")]

    @classmethod
    def of(cls, found: RentalDispute, currency: str) -> "DisputeOut":
        return cls(
            id=found.id,
            rental_id=found.rental_id,
            reason=found.reason,
            note=found.note,
            state=found.state,
            opened_at=found.opened_at,
            decided_at=found.decided_at,
            decision=found.decision,
            refund=None if found.refund_minor is None else MoneyOut.of(found.refund_minor, currency),
        )


class StopOut(Schema):
    code: str
    name: str
    address: str | None
    at: Instant


class PaidOut(Schema):
    purse: Annotated[str, Field(examples=["points", "wallet", "card"])]
    amount: MoneyOut


class ReceiptOut(Schema):
    """The lines add up to the total, which contains the tax; total = paid + credited + due + written off."""

    rental_id: UUID
    issuer: Annotated[str, Field(description="lines separated by a line break")]
    invoice_numbers: Annotated[
        list[int], Field(description="of the invoice and its corrections; none: it cost nothing")
    ]
    issued_at: Instant
    power_bank: str
    taken: StopOut
    returned: Annotated[StopOut | None, Field(description="null: the bank was not brought back")]
    charged_until: Annotated[
        Instant,
        Field(description="when its clock stopped: before the return of a bank that had counted as lost"),
    ]
    duration_s: Annotated[int, Field(description="until then")]
    paused_s: Annotated[int, Field(description="of the duration, not charged")]
    time_zone: str
    lines: list[PriceLineOut]
    total: MoneyOut
    tax: MoneyOut
    tax_label: str | None
    credited: Annotated[MoneyOut, Field(description="given back although the price is right, as credit notes say")]
    credit_reasons: list[str]
    paid: Annotated[MoneyOut, Field(description="without all that came back")]
    paid_by: Annotated[list[PaidOut], Field(description="what paid it, less what came back")]
    refunded: Annotated[MoneyOut, Field(description="all that ever came back, whether the price fell or not")]
    due: MoneyOut
    written_off: Annotated[MoneyOut, Field(description="what of it nobody asks for any more")]

    @classmethod
    def of(cls, found: Receipt) -> "ReceiptOut":
        def money(amount_minor: int) -> MoneyOut:
            return MoneyOut.of(amount_minor, found.currency)

        return cls(
            rental_id=found.rental_id,
            issuer=found.issuer,
            invoice_numbers=list(found.invoice_numbers),
            issued_at=found.issued_at,
            power_bank=found.power_bank,
            taken=StopOut.model_validate(found.taken),
            returned=None if found.returned is None else StopOut.model_validate(found.returned),
            charged_until=found.charged_until,
            duration_s=int(found.duration.total_seconds()),
            paused_s=int(found.paused.total_seconds()),
            time_zone=found.time_zone,
            lines=[PriceLineOut.of(line, found.currency) for line in found.lines],
            total=money(found.total_minor),
            tax=money(found.tax_minor),
            tax_label=found.tax_label,
            credited=money(found.credited_minor),
            credit_reasons=list(found.credit_reasons),
            paid=money(found.paid_minor),
            paid_by=[PaidOut(purse=purse, amount=money(minor)) for purse, minor in found.paid_by],
            refunded=money(found.refunded_minor),
            due=money(found.due_minor),
            written_off=money(found.written_off_minor),
        )
