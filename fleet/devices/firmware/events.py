from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from fleet.common.outbox import DomainEvent


@dataclass(frozen=True)
class FirmwareUpdateFailed(DomainEvent):
    """A station did not take a release, or did not come back with it in time."""

    name: ClassVar[str] = "devices.firmware_update_failed.v1"

    rollout_id: UUID
    station_id: int
    version: str
    code: str


@dataclass(frozen=True)
class RolloutHalted(DomainEvent):
    """A rollout has stopped by itself."""

    name: ClassVar[str] = "devices.firmware_rollout_halted.v1"

    rollout_id: UUID
    reason: str
