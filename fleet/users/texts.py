"""Text messages through a webhook of the operator's SMS gateway, or of a small bridge to one.

The request is signed as https://www.standardwebhooks.com asks, so that libraries exist to check it in every language.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import httpx
from sqlalchemy.orm import Session

from fleet.settings import Settings, webhook_key
from fleet.users.errors import MessageNotAccepted
from fleet.users.messages import Message

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class TextWebhookSender:
    url: str
    key: bytes

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        assert settings.sms_webhook_url is not None
        assert settings.sms_webhook_secret is not None
        return cls(settings.sms_webhook_url, webhook_key(settings.sms_webhook_secret.get_secret_value()))

    def send(self, session: Session, message: Message, now: datetime) -> None:
        """POST it; any 2xx is acceptance. Raises MessageNotAccepted: it may be tried again, under the same id."""
        del session
        content = body_of(message, now)
        name, at = str(message.id), int(now.timestamp())
        headers = {
            "content-type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(at),
            "webhook-signature": signature(self.key, name, at, content),
        }
        try:
            answer = httpx.post(self.url, content=content, headers=headers, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise MessageNotAccepted(f"the SMS gateway: {type(error).__name__}") from error
        if not answer.is_success:
            raise MessageNotAccepted(f"the SMS gateway answered {answer.status_code}")


def body_of(message: Message, now: datetime) -> bytes:
    data = {"id": str(message.id), "to": message.destination, "text": message.body}
    event = {"type": "sms.send", "timestamp": now.isoformat(), "data": data}
    return json.dumps(event, ensure_ascii=False).encode()


def signature(key: bytes, message_id: str, timestamp: int, content: bytes) -> str:
    """Symmetric signature, version 1, of Standard Webhooks: HMAC-SHA256 over `id.timestamp.content`."""
    signed = f"{message_id}.{timestamp}.".encode() + content
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
