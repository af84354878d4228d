"""Facts of this area that others hear of through the outbox. Names carry their version."""

from dataclasses import dataclass
from typing import ClassVar

from fleet.common.outbox import DomainEvent


@dataclass(frozen=True)
class AlertOpened(DomainEvent):
    """A rule found something that operators should know. Once per alert."""

    name: ClassVar[str] = "telemetry.AlertOpened.v1"
    alert_id: int
    kind: str
    severity: str
    subject: str
    station_id: int | None


@dataclass(frozen=True)
class AlertAcknowledged(DomainEvent):
    """An operator looks after it."""

    name: ClassVar[str] = "telemetry.AlertAcknowledged.v1"
    alert_id: int


@dataclass(frozen=True)
class AlertClosed(DomainEvent):
    """It is not so any more (`cleared`), or its rule is gone (`rule_removed`, `rule_disabled`)."""

    name: ClassVar[str] = "telemetry.AlertClosed.v1"
    alert_id: int
    reason: str
