"""One-time codes: how they look and how often they may be asked for. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

CODE_DIGITS = 6


@dataclass(frozen=True, slots=True)
class SendLimit:
    """At most `count` codes within `window`."""

    count: int
    window: timedelta


#: For one destination: a person who waits, not a machine that floods a phone.
PER_DESTINATION = (
    SendLimit(1, timedelta(seconds=30)),
    SendLimit(5, timedelta(hours=1)),
    SendLimit(10, timedelta(days=1)),
)
#: From one network address, which a whole venue may share.
PER_ADDRESS = (SendLimit(30, timedelta(hours=1)), SendLimit(200, timedelta(days=1)))
LONGEST_WINDOW = max(limit.window for limit in (*PER_DESTINATION, *PER_ADDRESS))


def wait_before_next(sent: list[datetime], limits: tuple[SendLimit, ...], now: datetime) -> timedelta:
    """How long to wait before one more may be sent; zero: now. `sent` holds the times of earlier ones, in any order."""
    waits = [timedelta(0)]
    for limit in limits:
        recent = sorted(at for at in sent if at > now - limit.window)
        if len(recent) >= limit.count:
            waits.append(recent[-limit.count] + limit.window - now)
    return max(waits)


def as_code(digest: bytes) -> str:
    """A code from a keyed digest of at least 16 bytes; every code is equally likely (the bias is below 2⁻¹⁰⁰)."""
    return f"{int.from_bytes(digest) % 10**CODE_DIGITS:0{CODE_DIGITS}d}"
