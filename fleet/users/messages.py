"""What is sent to people, and what every way of sending must do."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Message:
    """`id` stays the same when the message is handed over again: a provider may drop the repetition by it."""

    id: UUID
    #: An e-mail address, or a phone number (E.164).
    destination: str
    subject: str
    body: str


class MessageSender(Protocol):
    def send(self, session: Session, message: Message, now: datetime) -> None:
        """Hand `message` over for delivery; returning means it was accepted.

        Raises MessageNotAccepted, or NoSender where nothing is configured that reaches the destination.
        """
