"""Server-sent events: how a stream waits for changes and when it ends."""

import time
from collections.abc import AsyncIterator

from api.hub import Hub, Subscription
from api.problems import Responses, problems

#: A stream ends after this long, well before access tokens stop being checked: the app comes back with a fresh one.
STREAM_S = 15 * 60
#: How long silence is believed: while notifications arrive, and while they cannot.
_LISTENING_S = 15.0
_DEAF_S = 0.5


async def looks(hub: Hub, subscription: Subscription) -> AsyncIterator[set[str]]:
    """Yields when it is time to look: at once, after every change (its payloads), and now and then (an empty set)."""
    ends = time.monotonic() + STREAM_S
    yield set()
    while time.monotonic() < ends:
        woken = await subscription.wait(_LISTENING_S if hub.listening else _DEAF_S)
        if subscription.closed:
            return
        yield woken


def stream_responses(what: str, *statuses: int) -> Responses:
    """What a stream answers, for OpenAPI."""
    return problems(*statuses) | {200: {"description": what, "content": {"text/event-stream": {}}}}
