"""Waiting for a fact instead of for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

import httpx
from sqlalchemy.exc import InterfaceError, OperationalError

T = TypeVar("T")
#: Generous: a loaded machine is slow, and a wait ends the moment its fact is there.
PATIENCE_S = 30.0
_POLL_S = 0.02
#: Looked at less often the longer it takes, or the looking would keep busy what is waited for: some 5 ms of processor
#: time for each, over HTTP. Well below what any fact of these tests lasts.
_POLL_SHARE = 0.1
_POLL_MAX_S = 0.1


def until(look: Callable[[], T], what: str | Callable[[], str], timeout_s: float = PATIENCE_S) -> T:
    """The first true value of `look`. A service that is away says nothing yet. Raises AssertionError."""
    began = time.monotonic()
    trouble = ""
    while True:
        try:
            if found := look():
                return found
            trouble = ""
        except (OperationalError, InterfaceError, httpx.TransportError) as error:
            trouble = f" ({error})"
        waited = time.monotonic() - began
        if waited > timeout_s:
            described = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout_s:.0f} s: {described}{trouble}")
        time.sleep(min(max(_POLL_S, waited * _POLL_SHARE), _POLL_MAX_S))
