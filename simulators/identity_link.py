"""The session of a cabinet that proves itself: it sees to its credential first, and signs its frames."""

import asyncio
from typing import Final

from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import sealed
from firmware_protocol.errors import ProtocolError
from firmware_protocol.signing import signing_key
from simulators.broker import Broker
from simulators.identity import Identity
from simulators.session import Link, Listener, native_session
from simulators.spec import StationSpec

#: Older than the newest that was accepted (docs/protocol.md, 19.6).
_STALE_MS: Final = 120_000


class IdentityLink:
    """A session that first sees to its credential. Frames are signed on their way out and checked on their way in."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fallback: Broker,
        station: StationSpec,
        will: Published,
        *,
        identity: Identity,
        boot: int,
    ) -> None:
        self._loop, self._fallback, self._station, self._will = loop, fallback, station, will
        self.identity = identity
        self._boot = boot
        self._inner: Link | None = None
        self._listener: Listener | None = None
        self._newest_ms = 0
        #: Frames that the backend did not sign.
        self.refused = 0

    @property
    def inner(self) -> Link:
        assert self._inner is not None
        return self._inner

    def dial(self) -> None:
        self.identity.ready()
        broker, will = self.identity.broker(self._fallback), self.identity.seal(self._will, self._boot)
        self._inner = native_session(self._loop, broker, self._station, will)
        try:
            self._inner.dial()
        except OSError:
            self.identity.failed()
            raise

    def attach(self, listener: Listener) -> None:
        self._listener = listener
        self.inner.attach(self)

    def publish(self, message: Published) -> None:
        self.inner.publish(self.identity.seal(message, self._boot))

    def close(self) -> None:
        self.inner.close()

    def cut(self) -> None:
        self.inner.cut()

    @property
    def gone(self) -> bool:
        return self.inner.gone

    def tick(self) -> None:
        self.inner.tick()

    def opened(self) -> None:
        if self._listener is not None:
            self._listener.opened()

    def closed(self) -> None:
        self.identity.failed()
        if self._listener is not None:
            self._listener.closed()

    def received(self, topic: str, payload: bytes, content_type: str | None) -> None:
        if self._listener is None:
            return
        body = self._opened(topic, payload, content_type) if self.identity.by_secret else payload
        if body is None:
            self.refused += 1
        else:
            self._listener.received(topic, body, content_type)

    def _opened(self, topic: str, payload: bytes, content_type: str | None) -> bytes | None:
        try:
            envelope = sealed.read(payload, content_type)
        except ProtocolError:
            return None
        held = [each for each in (self.identity.kept.current, self.identity.kept.next) if each is not None]
        if not any(
            each.key_id == envelope.key and envelope.is_genuine(topic, signing_key(each.secret_bytes)) for each in held
        ):
            return None
        if envelope.seq < self._newest_ms - _STALE_MS:
            return None
        self._newest_ms = max(self._newest_ms, envelope.seq)
        return envelope.body
