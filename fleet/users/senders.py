"""How messages reach people. One class per way; which one is used is a setting."""

from datetime import datetime
from typing import Protocol

import structlog
from sqlalchemy.orm import Session

from fleet.settings import Settings
from fleet.users.errors import NoSender
from fleet.users.models import SandboxMessage

log = structlog.get_logger(__name__)


class MessageSender(Protocol):
    def send(self, session: Session, destination: str, body: str, now: datetime) -> None:
        """Hand `body` over for delivery; returning means it was accepted. Raises when it was not."""


class SandboxSender:
    """Shows what would have been sent: in the log and on the inbox page. Development only."""

    def send(self, session: Session, destination: str, body: str, now: datetime) -> None:
        session.add(SandboxMessage(destination=destination, body=body, sent_at=now))
        log.info("sandbox_message", destination=destination, body=body)


class UnconfiguredSender:
    """Says so, loudly and every time, instead of pretending that something was sent."""

    def send(self, session: Session, destination: str, body: str, now: datetime) -> None:
        del session, body, now
        raise NoSender(f"no sender is configured that reaches {destination[:3]}…")


def sender_from(settings: Settings) -> MessageSender:
    """The sandbox in development; in production there is none until a real one is configured."""
    return UnconfiguredSender() if settings.production else SandboxSender()
