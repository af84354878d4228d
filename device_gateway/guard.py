"""Frames of devices that sign: opened before the pipeline sees them, or refused."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Final, Protocol

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from device_gateway import faults, intake
from device_gateway.ingest import Alive, Done, nobody_asks, reject
from device_gateway.outbound import Outbound
from device_gateway.received import Received
from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import sealed
from firmware_protocol.dialects.native.sealed import Sealed
from firmware_protocol.errors import ProtocolError
from firmware_protocol.topics import UpKind
from fleet.common.vault import Vault
from fleet.db import session_scope
from fleet.devices import credentials, signatures
from fleet.devices.dead_letters import Rejected
from fleet.devices.signatures import SigningKey, Window

UNSIGNED: Final = "signature_missing"
FORGED: Final = "signature_forged"
REPLAYED: Final = "signature_replayed"
#: A new key, or a revoked one, is known after this time.
_FRESH_S: Final = 1.0
#: A cabinet signs at once with what it was given. So often within that time an unknown key is a reason to look again:
#: it may as well be forged.
_LOOKS_MOST: Final = 20
#: Names of the envelope's fields come before its body.
_ENVELOPE_BYTES: Final = 160
#: What is said in a session is judged by its epoch; a cabinet that lost its counters must be heard to be told.
_COUNTED: Final = frozenset({UpKind.EVENT.value, UpKind.TELEMETRY.value})


class Keyring:
    """Keys of signing devices, for all threads; replaced as a whole."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._keys: dict[str, list[SigningKey]] = {}
        self._version: tuple[int, ...] | None = None
        self._checked = 0.0
        self._looks = 0

    def refresh(self, engine: Engine, *, doubted: bool = False) -> None:
        """`doubted`: somebody signs with a key that is not known here."""
        due = self._version is None or monotonic() - self._checked >= _FRESH_S
        if not due and not (doubted and self._looks < _LOOKS_MOST):
            return
        self._looks += 1
        with Session(engine) as session:
            version = signatures.version(session)
            if version != self._version:
                self._keys = signatures.signing_keys(session, self._vault)
                self._version = version
        if due:
            self._looks, self._checked = 0, monotonic()

    def of(self, topic: str) -> list[SigningKey] | None:
        """Of the station that a topic names; None when it need not sign."""
        if not self._keys:
            return None
        code = intake.station_of(topic)
        return None if code is None else self._keys.get(code)

    def seal(self, message: Published, now_ms: int) -> Published:
        """As the backend sends it: signed, to a station that signs."""
        for key in self.of(message.topic) or ():
            if key.current:
                return sealed.seal(message, key_id=key.key_id, signing_key=key.key, boot=0, seq=now_ms)
        return message


class Pipeline(Protocol):
    """What a lane asks of an ingest."""

    def process(self, batch: Sequence[Received], alive: Alive) -> Done: ...

    def process_stubborn(self, batch: Sequence[Received], alive: Alive) -> Done: ...

    def not_ready(self, batch: Sequence[Received]) -> Outbound: ...


class _Refused(Exception):
    def __init__(self, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(reason)


class Guard:
    """A pipeline in front of another. Not thread-safe: one per lane.

    Counters are used up in a transaction of their own before the frames are stored. A crash in between drops frames,
    not facts: what was not acknowledged is in the cabinet's journal, and comes again under a new counter.
    """

    def __init__(self, inner: Pipeline, engine: Engine, keyring: Keyring, clock: Callable[[], datetime]) -> None:
        self._inner = inner
        self._engine = engine
        self._keyring = keyring
        self._clock = clock
        #: Of the batch in hand, which is tried again as a whole: message → what became of it.
        self._opened: dict[int, tuple[Received, Received | None]] = {}

    def process(self, batch: Sequence[Received], alive: Alive = nobody_asks) -> Done:
        return self._run(batch, partial(self._inner.process, alive=alive))

    def process_stubborn(self, batch: Sequence[Received], alive: Alive = nobody_asks) -> Done:
        return self._run(batch, partial(self._inner.process_stubborn, alive=alive))

    def not_ready(self, batch: Sequence[Received]) -> Outbound:
        """Without the database no signature can be checked: who signs is answered later."""
        return self._inner.not_ready([each for each in batch if self._keyring.of(each.topic) is None])

    def _run(self, batch: Sequence[Received], run: Callable[[Sequence[Received]], Done]) -> Done:
        news = any(_looks_sealed(each) and self._keyring.of(each.topic) is None for each in batch)
        self._keyring.refresh(self._engine, doubted=news)
        plain = [each for each in batch if self._keyring.of(each.topic) is None]
        if len(plain) == len(batch):
            return run(batch)
        refused = self._open_all(
            [each for each in batch if id(each) not in self._opened and self._keyring.of(each.topic) is not None]
        )
        passed = [self._opened[id(each)][1] if id(each) in self._opened else each for each in batch]
        good = [each for each in passed if each is not None]
        done = run(good) if good else Done()
        done.add(refused)
        self._opened.clear()
        return done

    def _open_all(self, batch: Sequence[Received]) -> Done:
        """Raises what another try may mend; a frame that fails otherwise is refused alone."""
        try:
            return self._open(batch)
        except Exception as error:
            if faults.is_transient(error):
                raise
            if len(batch) > 1:
                middle = len(batch) // 2
                done = self._open_all(batch[:middle])
                done.add(self._open_all(batch[middle:]))
                return done
            done = Done()
            with session_scope(self._engine) as session:
                code, reason = faults.code_of(error), faults.reason_of(error)
                self._record(session, [intake.reject(batch[0], code, reason)], done)
            self._opened[id(batch[0])] = (batch[0], None)
            return done

    def _open(self, batch: Sequence[Received]) -> Done:
        """Check and unwrap; what is refused is in the dead letters when this returns."""
        done = Done()
        if not batch:
            return done
        results: dict[int, tuple[Received, Received | None]] = {}
        with session_scope(self._engine) as session:
            genuine, rejected = self._check(batch)
            counted = {_window_of(each, key) for each, _, key in genuine if _kind(each) in _COUNTED}
            windows = signatures.lock_windows(session, counted) if counted else {}
            for each, envelope, key in genuine:
                if _used_before(windows, each, envelope, key):
                    reason = f"boot {envelope.boot}, counter {envelope.seq}: used before, or too old to tell"
                    rejected.append(intake.reject(each, REPLAYED, reason))
                    results[id(each)] = (each, None)
                else:
                    results[id(each)] = (each, each._replace(payload=envelope.body, content_type=None))
            signatures.save_windows(session, windows)
            for each in batch:
                results.setdefault(id(each), (each, None))
            self._record(session, rejected, done)
            self._confirm(session, [key for _, _, key in genuine])
        self._opened |= results
        return done

    def _check(self, batch: Sequence[Received]) -> tuple[list[tuple[Received, Sealed, SigningKey]], list[Rejected]]:
        genuine: list[tuple[Received, Sealed, SigningKey]] = []
        rejected: list[Rejected] = []
        for each in batch:
            try:
                envelope, key = self._verified(each)
            except _Refused as refused:
                rejected.append(intake.reject(each, refused.code, refused.reason))
            else:
                genuine.append((each, envelope, key))
        return genuine, rejected

    def _verified(self, received: Received) -> tuple[Sealed, SigningKey]:
        try:
            envelope = sealed.read(received.payload, received.content_type)
        except ProtocolError as error:
            raise _Refused(UNSIGNED, f"this station signs every frame: {error}") from error
        if all(key.key_id != envelope.key for key in self._keyring.of(received.topic) or ()):
            self._keyring.refresh(self._engine, doubted=True)
        for key in self._keyring.of(received.topic) or ():
            if key.key_id == envelope.key and envelope.is_genuine(received.topic, key.key):
                return envelope, key
        raise _Refused(FORGED, f"key {envelope.key!r} did not make this signature for this topic")

    def _record(self, session: Session, rejected: Sequence[Rejected], done: Done) -> None:
        reject(session, rejected, done.tally)

    def _confirm(self, session: Session, keys: Sequence[SigningKey]) -> None:
        """A key that signs is in use: its predecessor ends."""
        for station_id, key_id in sorted({(key.station_id, key.key_id) for key in keys if not key.confirmed}):
            credentials.confirm(session, station_id, key_id, self._clock())


def _looks_sealed(received: Received) -> bool:
    """Cheap, and right about every envelope: what else has the word in it costs a look."""
    return b"mac" in received.payload[:_ENVELOPE_BYTES]


def _kind(received: Received) -> str:
    return received.topic.rpartition("/")[2]


def _window_of(received: Received, key: SigningKey) -> signatures.Key:
    return key.station_id, _kind(received)


def _used_before(windows: dict[signatures.Key, Window], received: Received, envelope: Sealed, key: SigningKey) -> bool:
    if _kind(received) not in _COUNTED:
        return False
    return not windows[_window_of(received, key)].accept(envelope.boot, envelope.seq)
