"""Who waits for what in this process. Lives on the event loop; nothing here is thread-safe."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.common.notify import Channel


class Subscription:
    """Notifications that arrived since the last `wait`. Losing one costs the caller's own limit, so it re-reads."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._seen: set[str] = set()
        self.closed = False

    async def wait(self, limit_s: float) -> set[str]:
        """The payloads notified since the last call; empty after `limit_s` or when everything may have changed."""
        try:
            async with asyncio.timeout(limit_s):
                await self._event.wait()
        except TimeoutError:
            return set()
        self._event.clear()
        seen, self._seen = self._seen, set()
        return seen

    def wake(self, payload: str | None) -> None:
        if payload is not None:
            self._seen.add(payload)
        self._event.set()

    def close(self) -> None:
        self.closed = True
        self._event.set()


class Hub:
    """Fans notifications out to subscriptions by channel and payload."""

    def __init__(self) -> None:
        self._subscriptions: dict[tuple[Channel, str], set[Subscription]] = {}
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        #: False while notifications cannot arrive: waiters then look for themselves more often.
        self.listening = False

    @property
    def waiting(self) -> int:
        return sum(len(group) for group in self._subscriptions.values())

    @contextmanager
    def subscribe(self, channel: Channel, *payloads: str) -> Iterator[Subscription]:
        subscription = Subscription()
        subscription.closed = self._closed
        keys = [(channel, payload) for payload in payloads]
        for key in keys:
            self._subscriptions.setdefault(key, set()).add(subscription)
        try:
            yield subscription
        finally:
            for key in keys:
                group = self._subscriptions[key]
                group.discard(subscription)
                if not group:
                    del self._subscriptions[key]

    def notified(self, channel: Channel, payload: str) -> None:
        for subscription in self._subscriptions.get((channel, payload), ()):
            subscription.wake(payload)

    def wake_all(self) -> None:
        """Something may have been missed: everybody looks again."""
        for group in self._subscriptions.values():
            for subscription in group:
                subscription.wake(None)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop that everything here runs on."""
        self._loop = loop

    def close_soon(self) -> None:
        """`close`, from a signal handler or another thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.close)

    def close(self) -> None:
        """The process is going down: waits end now, so that connections can be closed in order."""
        self._closed = True
        for group in self._subscriptions.values():
            for subscription in group:
                subscription.close()
