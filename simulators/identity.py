"""What a simulated cabinet proves itself with: claimed over HTTPS, rotated, renewed, and how it is used."""

import base64
import hashlib
import os
import secrets
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
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
from firmware_protocol.signing import (
    call_mac,
    mqtt_password,
    renewal_statement,
    rotation_proof,
    rotation_statement,
    signing_key,
)
from simulators.broker import Broker
from simulators.spec import ClaimSpec

_TIMEOUT_S: Final = 10.0
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
    #: From when on and where a certificate is renewed (18.7).
    renew_from: datetime | None = None
    renew_url: str | None = None

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
        self.code = code
        self._file = None if folder is None else folder / f"identity-{code}.json"
        self.kept = Kept()
        if self._file is not None and self._file.exists():
            self.kept = msgspec.json.decode(self._file.read_bytes(), type=Kept)
        #: Which of the two is tried.
        self._try_next = True
        self._boot = self._counter = 0
        #: An operator's rotation and the cabinet's own renewal may meet.
        self._asking = Lock()

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

    @property
    def api(self) -> str:
        """Where a device's calls go: beside the claim (20.1)."""
        return self._claim.url.rsplit("/", 1)[0]

    def signature(self, statement: bytes) -> tuple[str, bytes]:
        """`key_id` of the credential that signs a call, and the signature (20.2)."""
        if self.by_secret:
            return self.signer.key_id, call_mac(self.signer.secret_bytes, statement)
        return self.in_use.key_id, _signed(self.in_use, statement)

    def ready(self) -> None:
        """Claim a credential unless there is one. Blocks. Raises NotClaimed."""
        if self.kept.current is None:
            self.kept.current = self._exchange(self._claim.url, self._claim.token, old=None)
            self.kept.asked = None
            self._save()

    def rotate(self, url: str, token: str) -> bool:
        """Fetch a successor. Blocks."""
        try:
            with self._asking:
                self.kept.next = self._exchange(url, token, old=self.kept.current)
                self.kept.asked = None
        except NotClaimed:
            return False
        # A certificate is used with the next connection; a password only after its secret was seen signing.
        self._try_next = not self.by_secret
        self._save()
        return True

    def renewal_due_in(self, now: datetime) -> timedelta | None:
        """How long until the certificate in use is to be renewed; None: it need not be, or its successor is here."""
        current = self.kept.current
        if current is None or current.renew_from is None or current.renew_url is None or self.kept.next is not None:
            return None
        return current.renew_from - now

    def renew(self) -> bool:
        """Fetch the next certificate with the key of the one in use (18.7). Blocks."""
        current = self.kept.current
        assert current is not None
        assert current.renew_url is not None
        try:
            with self._asking:
                self.kept.next = self._ask(current.renew_url, self._renewal(current, self._keep_asked()))
                self.kept.asked = None
        except NotClaimed:
            return False
        self._try_next = True
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
        body = {"token": token, **self._request(token, self._keep_asked(), old)}
        if self._claim.hardware_serial is not None:
            body["hardware_serial"] = self._claim.hardware_serial
        return self._ask(url, body)

    def _keep_asked(self) -> str:
        """Key or nonce, before anybody is asked: a lost answer is asked for again with the same."""
        if self.kept.asked is None:
            self.kept.asked = secrets.token_urlsafe(32) if self.by_secret else _new_key()
            self._save()
        return self.kept.asked

    def _ask(self, url: str, body: dict[str, str]) -> Credential:
        asked = self.kept.asked
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
            key=None if self.by_secret else asked,
            certificate=given["certificate"],
            trust=given["trust"],
            secret=given["secret"],
            renew_from=None if given["renew_from"] is None else datetime.fromisoformat(given["renew_from"]),
            renew_url=given["renew_url"],
        )

    def _request(self, token: str, asked: str, old: Credential | None) -> dict[str, str]:
        if self.by_secret:
            digest = hashlib.sha256(asked.encode()).digest()
            proof = None if old is None else rotation_proof(old.secret_bytes, token, digest)
            request = {"nonce": asked}
        else:
            csr, digest = _signing_request(asked)
            proof = None if old is None else _signed(old, rotation_statement(token, digest))
            request = {"csr": csr}
        return request if proof is None else {**request, "proof": base64.b64encode(proof).decode()}

    @staticmethod
    def _renewal(current: Credential, asked: str) -> dict[str, str]:
        csr, digest = _signing_request(asked)
        proof = _signed(current, renewal_statement(current.key_id, digest))
        return {"key_id": current.key_id, "csr": csr, "proof": base64.b64encode(proof).decode()}

    def _save(self) -> None:
        if self._file is None:
            return
        fresh = self._file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(self.kept))
        fresh.replace(self._file)


def _new_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _signing_request(key_pem: str) -> tuple[str, bytes]:
    """PEM, and the SHA-256 of the key."""
    key = _key_of(key_pem)
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    csr = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, SHA256())
    return csr.public_bytes(Encoding.PEM).decode(), hashlib.sha256(public).digest()


def _signed(by: Credential, statement: bytes) -> bytes:
    return _key_of(by.key or "").sign(statement, ec.ECDSA(SHA256()))


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
