"""Under which HTTP request code runs: for log lines, and for the evidence of what it changes."""

from contextlib import AbstractContextManager
from typing import Final

import structlog

_KEY: Final = "request_id"


def asked_by(request_id: str) -> AbstractContextManager[object]:
    """Everything in the block, threads that it waits for included, runs for this request."""
    return structlog.contextvars.bound_contextvars(**{_KEY: request_id})


def request_id() -> str | None:
    """None: nobody asked over HTTP (a cabinet's event, a task, a command of the console)."""
    found: object = structlog.contextvars.get_contextvars().get(_KEY)
    return found if isinstance(found, str) else None
