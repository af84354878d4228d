"""How messages reach people. One class per way; which ways there are is a matter of settings (docs/deploy.md)."""

from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from fleet.settings import Settings
from fleet.users.destinations import is_email
from fleet.users.errors import NoSender
from fleet.users.mail import SmtpSender
from fleet.users.messages import Message, MessageSender
from fleet.users.models import SandboxMessage
from fleet.users.texts import TextWebhookSender

log = structlog.get_logger(__name__)


class SandboxSender:
    """Shows what would have been sent: in the log and on the inbox page. Development only."""

    def send(self, session: Session, message: Message, now: datetime) -> None:
        session.add(SandboxMessage(destination=message.destination, body=message.body, sent_at=now))
        log.info("sandbox_message", destination=message.destination, body=message.body)


class UnconfiguredSender:
    """Says so, loudly and every time, instead of pretending that something was sent."""

    def send(self, session: Session, message: Message, now: datetime) -> None:
        del session, now
        raise no_sender(message.destination)


@dataclass(frozen=True, slots=True)
class ByDestination:
    email: MessageSender
    phone: MessageSender

    def send(self, session: Session, message: Message, now: datetime) -> None:
        way = self.email if is_email(message.destination) else self.phone
        way.send(session, message, now)


def sender_from(settings: Settings) -> MessageSender:
    """E-mail over SMTP and text messages over the gateway's webhook, each where it is configured; where it is not, the
    sandbox in development and nothing in production.
    """
    otherwise: MessageSender = UnconfiguredSender() if settings.production else SandboxSender()
    return ByDestination(
        email=SmtpSender.from_settings(settings) if settings.smtp_url else otherwise,
        phone=TextWebhookSender.from_settings(settings) if settings.sms_webhook_url else otherwise,
    )


def check_reachable(destination: str, settings: Settings) -> None:
    """Raises NoSender when no message to this kind of destination could ever be sent."""
    configured = settings.smtp_url if is_email(destination) else settings.sms_webhook_url
    if settings.production and not configured:
        raise no_sender(destination)


def no_sender(destination: str) -> NoSender:
    kind = "e-mail" if is_email(destination) else "text messages"
    return NoSender(f"this service cannot send {kind}; sign in another way")
