"""What a simulated cabinet proves itself with: claimed over HTTPS, rotated, used over TLS or with signed frames."""

import asyncio
import base64
import hashlib
import os
import secrets
import ssl
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

import httpx
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from msgspec import Struct

from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import sealed
from firmware_protocol.errors import ProtocolError
from firmware_protocol.signing import (
    mqtt_password,
    rotation_proof,
    rotation_statement,
    signing_key,
)
from simulators.broker import Broker
from simulators.session import Link, Listener, native_session
from simulators.spec import ClaimSpec, StationSpec

_TIMEOUT_S: Final = 10.0
#: Older than the newest that was accepted (docs/protocol.md, 19.6).
_STALE_MS: Final = 120_000
#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME: a cabinet's clock is not set before the welcome (18.2).
_NO_CHECK_TIME: Final = 0x200000


class NotClaimed(OSError):
    """The backend gave no credential: tried again with the next connection."""


class Credential(Struct, kw_only=True):
    """One that the backend gave. `key`: PEM, for a certificate; `secret`: base64url."""

    key_id: str
    broker_url: str | None = None
    key: str | None = None
    certificate: str | None = None
    trust: str | None = None
    secret: str | None = None

    @property
    def secret_bytes(self) -> bytes:
        return base64.urlsafe_b64decode(f"{self.secret}=")


class Kept(Struct, kw_only=True):
    """In flash. `asked`: key or nonce of a claim whose answer may have been lost."""

    current: Credential | None = None
    next: Credential | None = None
    asked: str | None = None


class Identity:
    """Of one cabinet. Blocking methods belong on a worker thread; one runs at a time."""

    def __init__(self, claim: ClaimSpec, code: str, folder: Path | None) -> None:
        self._claim = claim
        self._code = code
        self._file = None if folder is None else folder / f"identity-{code}.json"
        self.kept = Kept()
        if self._file is not None and self._file.exists():
            self.kept = msgspec.json.decode(self._file.read_bytes(), type=Kept)
        #: Which of the two is tried.
        self._try_next = True
        self._boot = self._counter = 0

    @property
    def by_secret(self) -> bool:
        return self._claim.kind == "secret"

    @property
    def in_use(self) -> Credential:
        """What the broker is told."""
        chosen = self.kept.next if self._try_next and self.kept.next is not None else self.kept.current
        assert chosen is not None
        return chosen

    @property
    def signer(self) -> Credential:
        """The newest secret signs at once; that is how the backend learns that it arrived."""
        chosen = self.kept.next or self.kept.current
        assert chosen is not None
        return chosen

    def ready(self) -> None:
        """Claim a credential unless there is one. Blocks. Raises NotClaimed."""
        if self.kept.current is None:
            self.kept.current = self._exchange(self._claim.url, self._claim.token, old=None)
            self.kept.asked = None
            self._save()

    def rotate(self, url: str, token: str) -> bool:
        """Fetch a successor. Blocks."""
        try:
            self.kept.next = self._exchange(url, token, old=self.kept.current)
        except NotClaimed:
            return False
        self.kept.asked = None
        # A certificate is used with the next connection; a password only after its secret was seen signing.
        self._try_next = not self.by_secret
        self._save()
        return True

    def welcomed(self) -> None:
        """The session works: what it was opened with is the only one from now on."""
        if self.kept.next is not None and self.in_use is self.kept.next:
            self.kept.current, self.kept.next = self.kept.next, None
            self._save()

    def failed(self) -> None:
        """The connection did not come about: the other one next time."""
        self._try_next = not self._try_next

    def broker(self, fallback: Broker) -> Broker:
        """Where and how the credential in use connects."""
        used = self.in_use
        place = fallback if used.broker_url is None else Broker.from_url(used.broker_url.replace("mqtts:", "mqtt:"))
        if self.by_secret:
            return Broker(place.host, place.port, mqtt_password(used.secret_bytes))
        return Broker(place.host, place.port, None, _tls(used))

    def seal(self, message: Published, boot: int) -> Published:
        """A frame under the next counter of this boot."""
        if not self.by_secret:
            return message
        if boot != self._boot:
            self._boot, self._counter = boot, 0
        self._counter += 1
        key = self.signer
        return sealed.seal(
            message, key_id=key.key_id, signing_key=signing_key(key.secret_bytes), boot=boot, seq=self._counter
        )

    def _exchange(self, url: str, token: str, old: Credential | None) -> Credential:
        if self.kept.asked is None:
            self.kept.asked = secrets.token_urlsafe(32) if self.by_secret else _new_key()
            self._save()  # before anybody is asked: a lost answer is asked for again with the same
        body = {"token": token, **self._request(token, self.kept.asked, old)}
        if self._claim.hardware_serial is not None:
            body["hardware_serial"] = self._claim.hardware_serial
        try:
            answer = httpx.post(url, json=body, timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise NotClaimed(str(error)) from error
        if answer.status_code != 200:
            raise NotClaimed(f"{answer.status_code} {answer.text[:200]}")
        given: dict[str, Any] = answer.json()
        return Credential(
            key_id=given["key_id"],
            broker_url=given["broker_url"],
            key=None if self.by_secret else self.kept.asked,
            certificate=given["certificate"],
            trust=given["trust"],
            secret=given["secret"],
        )

    def _request(self, token: str, asked: str, old: Credential | None) -> dict[str, str]:
        if self.by_secret:
            digest = hashlib.sha256(asked.encode()).digest()
            proof = None if old is None else rotation_proof(old.secret_bytes, token, digest)
            request = {"nonce": asked}
        else:
            key = _key_of(asked)
            public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            statement = rotation_statement(token, hashlib.sha256(public).digest())
            proof = None if old is None else _key_of(old.key or "").sign(statement, ec.ECDSA(SHA256()))
            csr = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, SHA256())
            request = {"csr": csr.public_bytes(Encoding.PEM).decode()}
        return request if proof is None else {**request, "proof": base64.b64encode(proof).decode()}

    def _save(self) -> None:
        if self._file is None:
            return
        fresh = self._file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self.kept))
        fresh.replace(self._file)


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


def _new_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _key_of(pem: str) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _tls(credential: Credential) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=credential.trust)
    context.verify_flags |= _NO_CHECK_TIME
    # The library reads files only.
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{credential.key}{credential.certificate}")
        file.flush()
        context.load_cert_chain(file.name)
    return context
