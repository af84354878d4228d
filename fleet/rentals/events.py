"""Facts of this area that others hear of through the outbox. Names carry their version."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from fleet.common.outbox import DomainEvent


@dataclass(frozen=True)
class RentalStarted(DomainEvent):
    """The bank has left: the rental is ACTIVE."""

    name: ClassVar[str] = "rentals.RentalStarted.v1"
    rental_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class RentalSwapped(DomainEvent):
    """The rider has another bank now; the rental goes on."""

    name: ClassVar[str] = "rentals.RentalSwapped.v1"
    rental_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class RentalNotStarted(DomainEvent):
    """The card was ready, and the rental could not begin (`code`): the money goes back."""

    name: ClassVar[str] = "rentals.RentalNotStarted.v1"
    intent_id: UUID
    user_id: UUID
    code: str


@dataclass(frozen=True)
class RentalDueSoon(DomainEvent):
    """The rider should bring the bank back, or extend, before `due_at`."""

    name: ClassVar[str] = "rentals.RentalDueSoon.v1"
    rental_id: UUID
    user_id: UUID
    due_at: datetime


@dataclass(frozen=True)
class RentalOverdue(DomainEvent):
    name: ClassVar[str] = "rentals.RentalOverdue.v1"
    rental_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class RentalClosed(DomainEvent):
    """No bank is with the rider any more, or it never was; `state` says how it ended."""

    name: ClassVar[str] = "rentals.RentalClosed.v1"
    rental_id: UUID
    user_id: UUID
    state: str


@dataclass(frozen=True)
class OrphanCaseOpened(DomainEvent):
    """A bank left a cabinet and no rental explains it: operators must look."""

    name: ClassVar[str] = "rentals.OrphanCaseOpened.v1"
    case_id: UUID
    power_bank_id: int
    station_id: int
    reason: str


@dataclass(frozen=True)
class ReturnClaimDecided(DomainEvent):
    """It was found out whether the bank is where its rider said; `state` is a `ClaimState`."""

    name: ClassVar[str] = "rentals.ReturnClaimDecided.v1"
    claim_id: UUID
    rental_id: UUID
    user_id: UUID
    state: str


@dataclass(frozen=True)
class RentalIssueReported(DomainEvent):
    name: ClassVar[str] = "rentals.RentalIssueReported.v1"
    issue_id: UUID
    rental_id: UUID
    user_id: UUID
    kind: str


@dataclass(frozen=True)
class RentalDisputed(DomainEvent):
    name: ClassVar[str] = "rentals.RentalDisputed.v1"
    dispute_id: UUID
    rental_id: UUID
    user_id: UUID
    reason: str


@dataclass(frozen=True)
class DisputeSettled(DomainEvent):
    """`state` is a `DisputeState`; the rental became cheaper by `refund_minor`, in `currency`."""

    name: ClassVar[str] = "rentals.DisputeSettled.v1"
    dispute_id: UUID
    rental_id: UUID
    user_id: UUID
    state: str
    refund_minor: int
    currency: str
