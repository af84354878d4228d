"""Where `now` comes from. Edges call it once per request, task or batch and pass the value down."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)
