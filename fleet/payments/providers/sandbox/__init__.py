"""The sandbox: another company, as far as anybody can tell. What it does depends on the card (docs/payments.md)."""

from fleet.payments.providers.sandbox.cards import LATE, SLOW, Card
from fleet.payments.providers.sandbox.deliveries import (
    RETRY,
    SIGNATURE_HEADER,
    Delivery,
    due_deliveries,
    mark_delivered,
)
from fleet.payments.providers.sandbox.provider import NAME, SandboxProvider

__all__ = [
    "LATE",
    "NAME",
    "RETRY",
    "SIGNATURE_HEADER",
    "SLOW",
    "Card",
    "Delivery",
    "SandboxProvider",
    "due_deliveries",
    "mark_delivered",
]
