"""What takes a while and happens elsewhere, on worker threads: downloads, credentials, logs over HTTP."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar

from simulators.cabinet import Cabinet
from simulators.download import Downloaded, download
from simulators.identity import Identity
from simulators.log_upload import upload
from simulators.outputs import BringLog, Fetch, Rotate

T = TypeVar("T")
_BEFORE_LEAVING_S: Final = 0.5
#: A certificate whose renewal failed has a third of its life left to try again.
_RENEW_AGAIN_S: Final = 60.0
_LOOK_AT_LEAST_S: Final = 86_400.0


class Workshop(Protocol):
    """Where errands are run."""

    loop: asyncio.AbstractEventLoop
    dialers: Executor

    def now_ms(self) -> int: ...


class Errands:
    """`tell` gives the cabinet an input; `reconnect` ends its session for a new one."""

    def __init__(
        self,
        workshop: Workshop,
        identity: Identity | None,
        tell: Callable[[Callable[[Cabinet, int], None]], None],
        reconnect: Callable[[], None],
    ) -> None:
        self._workshop, self._identity, self._tell, self._reconnect = workshop, identity, tell, reconnect
        self._renewal: asyncio.TimerHandle | None = None

    def fetch(self, wish: Fetch) -> None:
        def got(image: Downloaded | None) -> None:
            size, sha256 = (0, "") if image is None else image
            self._tell(lambda cabinet, now_ms: cabinet.fetched(wish.command_id, size, sha256, now_ms))

        self._run(lambda: download(wish.url, wish.size), got)

    def bring_log(self, wish: BringLog) -> None:
        """Whatever is not taken over HTTP is the cabinet's to send as messages."""
        identity, every = self._identity, tuple(piece.index for piece in wish.pieces)
        if identity is None:  # only a cabinet with a credential wishes this
            return

        def brought(left: tuple[int, ...] | None) -> None:
            indexes = every if left is None else left
            self._tell(lambda cabinet, now_ms: cabinet.brought(wish.command_id, indexes, now_ms))

        self._run(lambda: upload(identity, wish), brought)

    def rotate(self, wish: Rotate) -> None:
        identity = self._identity
        if identity is None:
            return

        def rotated(done: bool | None) -> None:  # how a thread's result comes
            self._tell(lambda cabinet, now_ms: cabinet.rotated(wish.command_id, now_ms, done=bool(done)))
            if done and not identity.by_secret:
                self._show_new_certificate()

        self._run(lambda: identity.rotate(wish.url, wish.token), rotated)

    def renew_when_due(self) -> None:
        """Renew the certificate, now or when it is time; one that is not answered asks again."""
        self.stop()
        due_in = self._due_in()
        if due_in is not None:
            wait_s = min(max(0.0, due_in.total_seconds()), _LOOK_AT_LEAST_S)
            self._renewal = self._workshop.loop.call_later(wait_s, self._renew)

    def stop(self) -> None:
        """Nothing is renewed by itself any more."""
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None

    def _due_in(self) -> timedelta | None:
        if self._identity is None:
            return None
        return self._identity.renewal_due_in(datetime.fromtimestamp(self._workshop.now_ms() / 1000, UTC))

    def _renew(self) -> None:
        identity, due_in = self._identity, self._due_in()
        if identity is None or due_in is None or due_in > timedelta(0):
            self.renew_when_due()
            return
        self._renewal = None
        self._run(identity.renew, self._renewed)

    def _renewed(self, done: bool | None) -> None:  # how a thread's result comes
        if done:
            self._show_new_certificate()
        else:
            self._renewal = self._workshop.loop.call_later(_RENEW_AGAIN_S, self._renew)

    def _show_new_certificate(self) -> None:
        """What is to be said leaves first; then the session is opened anew."""
        self._workshop.loop.call_later(_BEFORE_LEAVING_S, self._reconnect)

    def _run(self, work: Callable[[], T], then: Callable[[T | None], None]) -> None:
        """`then` on the loop with what `work` returned on a thread; None: it failed."""

        def ended(future: "asyncio.Future[T]") -> None:
            then(None if future.cancelled() or future.exception() is not None else future.result())

        self._workshop.loop.run_in_executor(self._workshop.dialers, work).add_done_callback(ended)
