from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from fleet.common.outbox import DomainEvent


@dataclass(frozen=True)
class OtpRequested(DomainEvent):
    """A code is to be sent. The code is not in here; `otp.deliver_code` derives it."""

    name: ClassVar[str] = "users.OtpRequested"
    challenge_id: UUID


@dataclass(frozen=True)
class UserRegistered(DomainEvent):
    """Somebody proved a phone or an e-mail address for the first time, perhaps as a guest who had rented before."""

    name: ClassVar[str] = "users.UserRegistered"
    user_id: UUID
