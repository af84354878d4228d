"""Facts of this area that others hear of through the outbox. Names carry their version."""

from dataclasses import dataclass
from typing import ClassVar

from fleet.common.outbox import DomainEvent


@dataclass(frozen=True)
class FaultReported(DomainEvent):
    """A cabinet told that something is wrong with it or with one of its slots, or is not any more: look at it."""

    name: ClassVar[str] = "stations.FaultReported.v1"
    station_id: int


@dataclass(frozen=True)
class SlotDisabled(DomainEvent):
    """The health rules took a slot out of use; an operator takes it back."""

    name: ClassVar[str] = "stations.SlotDisabled.v1"
    station_id: int
    slot: int
    reason: str


@dataclass(frozen=True)
class PowerBankQuarantined(DomainEvent):
    """The health rules took a power bank out of use; an operator releases it."""

    name: ClassVar[str] = "stations.PowerBankQuarantined.v1"
    power_bank_id: int
    station_id: int
    slot: int
    reason: str


@dataclass(frozen=True)
class PowerBankFlagged(DomainEvent):
    """A power bank has reached the cycles at which somebody should look at it."""

    name: ClassVar[str] = "stations.PowerBankFlagged.v1"
    power_bank_id: int
    cycles: int
