"""A pipeline: takes what its buffer holds, has it stored, then acknowledges. One thread.

Nothing is acknowledged before it is committed. While the database is away the batch in hand is tried again and again,
the buffer fills, and a link whose buffer is full reads no more.
"""

from collections.abc import Callable
from threading import Event, Thread
from time import monotonic, time
from typing import Final

import structlog

from device_gateway import faults
from device_gateway.backoff import Backoff
from device_gateway.buffer import Buffer
from device_gateway.guard import Pipeline
from device_gateway.ingest import Done
from device_gateway.metrics import Metrics
from device_gateway.post import Outlet
from device_gateway.received import Received

_LOG: Final = structlog.get_logger(__name__)
#: After so many failures in a row of one batch, the fault may be in one of its messages.
PATIENCE: Final = 4
_RETRY_FIRST_S: Final = 0.05
_RETRY_LONGEST_S: Final = 5.0
#: How long an idle pipeline sleeps between looks at its other duties.
TICK_S: Final = 0.25


class Lane(Thread):
    def __init__(
        self,
        name: str,
        buffer: Buffer,
        ingest: Pipeline,
        link: Outlet,
        metrics: Metrics,
        *,
        batch_max: int,
        after: Callable[[Done], None],
        tick: Callable[[], None],
        gather_s: float = 0.0,
    ) -> None:
        """`gather_s`: how long a first message waits for others; 0 where somebody waits for it. Several lanes may have
        one name.
        """
        super().__init__(name=name, daemon=True)
        self._buffer = buffer
        self._ingest = ingest
        self._link = link
        self._metrics = metrics
        self._batch_max = batch_max
        self._gather_s = gather_s
        self._after = after
        self._tick = tick
        self._draining = Event()
        self._aborted = Event()
        #: Read by the watchdog.
        self.beat = monotonic()
        self._received = metrics.received.labels(name)
        self._sizes = metrics.batch_size.labels(name)
        self._seconds = metrics.batch_seconds.labels(name)
        self._lag = metrics.lag.labels(name)
        self._retries = metrics.retries.labels(name)

    def drain(self) -> None:
        """End when the buffer is empty."""
        self._draining.set()
        self._buffer.wake()

    def abort(self) -> None:
        """End as soon as possible; what is not acknowledged comes again."""
        self._aborted.set()
        self.drain()

    def run(self) -> None:
        while not self._aborted.is_set():
            self.beat = monotonic()
            gather_s = 0.0 if self._draining.is_set() else self._gather_s
            batch = self._buffer.take(self._batch_max, TICK_S, gather_s)
            if batch:
                self._handle(batch)
                self._buffer.stored()
            elif self._draining.is_set():
                return
            self._tick()

    def _handle(self, batch: list[Received]) -> None:
        begun = monotonic()
        done = self._until_stored(batch)
        if done is None:
            return
        # What was decided goes out before the acknowledgements: somebody stands in front of the cabinet.
        for message in done.outbound.messages:
            self._link.publish(message)
        self._link.acknowledge(batch)
        self._after(done)
        self._received.inc(len(batch))
        self._sizes.observe(len(batch))
        self._seconds.observe(monotonic() - begun)
        self._lag.observe(max(0.0, time() - batch[0].at))
        self._metrics.count(done.tally)

    def _note_alive(self) -> None:
        self.beat = monotonic()

    def _until_stored(self, batch: list[Received]) -> Done | None:
        """Try until it is stored, with what comes meanwhile; None when aborted."""
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_LONGEST_S)
        told = 0
        while not self._aborted.is_set():
            try:
                process = self._ingest.process if backoff.tries < PATIENCE else self._ingest.process_stubborn
                return process(batch, self._note_alive)
            except Exception as error:
                if not faults.is_transient(error):
                    raise  # a bug in what handles faults: the watchdog ends the process
                _LOG.warning("batch not stored, trying again", lane=self.name, size=len(batch), error=str(error)[:300])
            self._retries.inc()
            batch += self._buffer.take(self._batch_max - len(batch), 0)
            if backoff.tries >= PATIENCE:
                for message in self._ingest.not_ready(batch[told:]).messages:
                    self._link.publish(message)
                told = len(batch)
            self._aborted.wait(backoff.next_s())
        return None
