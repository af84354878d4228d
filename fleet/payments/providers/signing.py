"""HMAC signatures over a time and a body: `t=<unix seconds>,v1=<hex>`, as the large providers do it."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

from fleet.payments.errors import WebhookRefused

#: Older or newer calls are refused: a recorded one cannot be played back later.
TOLERANCE = timedelta(seconds=300)


def sign(secret: bytes, body: bytes, now: datetime) -> str:
    seconds = int(now.timestamp())
    return f"t={seconds},v1={_digest(secret, seconds, body)}"


def verify(secret: bytes, body: bytes, signature: str, now: datetime) -> None:
    """Raises WebhookRefused unless one of the v1 signatures is right and its time is near `now`."""
    pairs = [part.strip().partition("=") for part in signature.split(",")]
    seconds = next((value for name, _, value in pairs if name == "t"), "")
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 12):
        raise WebhookRefused("the signature has no time")
    expected = _digest(secret, int(seconds), body)
    given = [value for name, _, value in pairs if name == "v1"]
    if not any(hmac.compare_digest(expected.encode(), value.encode()) for value in given):
        raise WebhookRefused("the signature is wrong")
    if abs(datetime.fromtimestamp(int(seconds), UTC) - now) > TOLERANCE:
        raise WebhookRefused("the signature is too old or from the future")


def _digest(secret: bytes, seconds: int, body: bytes) -> str:
    return hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
