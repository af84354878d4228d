"""Signed frames, for modules without TLS (docs/protocol.md, 19). Pure: keys and bytes in, bytes out."""

import base64
import hashlib
import hmac
from typing import Final

#: Bytes of the secret that device and backend share.
SECRET_BYTES: Final = 32
MAC_BYTES: Final = 32
_PASSWORD_LABEL: Final = b"vdp1 mqtt password"
_SIGNING_LABEL: Final = b"vdp1 signing key"


def mqtt_password(secret: bytes) -> str:
    """What a signing device tells the broker. It crosses the wire in the clear, so the secret cannot be got from it."""
    return _text(_derived(secret, _PASSWORD_LABEL))


def signing_key(secret: bytes) -> bytes:
    """The key of the signatures; it never leaves device and backend."""
    return _derived(secret, _SIGNING_LABEL)


def secret_text(secret: bytes) -> str:
    """A secret as people and programs hand it on: base64url without padding, 43 characters."""
    return _text(secret)


def _derived(secret: bytes, label: bytes) -> bytes:
    return hmac.new(secret, label, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def rotation_statement(token: str, request_digest: bytes) -> bytes:
    """What the credential in force signs to get its successor (docs/protocol.md, 18.4).

    `request_digest`: SHA-256 of the new public key (SubjectPublicKeyInfo, DER), or of the nonce.
    """
    return b"vdp1 rotate\n" + token.encode() + b"\n" + request_digest


def renewal_statement(key_id: str, request_digest: bytes) -> bytes:
    """What the key of a certificate signs to get the next certificate (docs/protocol.md, 18.7).

    `key_id` of the certificate in use, `request_digest` as in `rotation_statement`.
    """
    return b"vdp1 renew\n" + key_id.encode() + b"\n" + request_digest


def log_piece_statement(request_id: str, index: int, *, last: bool, digest: bytes) -> bytes:
    """What is signed of a piece of a log (docs/protocol.md, 20). `digest`: SHA-256 of its content."""
    return f"vdp1 log\n{request_id}\n{index}\n{int(last)}\n".encode() + digest


def log_status_statement(request_id: str) -> bytes:
    """What is signed to ask which pieces of a log are here."""
    return f"vdp1 log status\n{request_id}".encode()


def call_mac(secret: bytes, statement: bytes) -> bytes:
    """The signature of a device that has a secret: HMAC-SHA256 with its signing key."""
    return hmac.new(signing_key(secret), statement, hashlib.sha256).digest()


def rotation_proof(secret: bytes, token: str, request_digest: bytes) -> bytes:
    """The proof of a device that has a secret: HMAC-SHA256 with its signing key."""
    return call_mac(secret, rotation_statement(token, request_digest))


def same(left: bytes, right: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left, right)


def envelope_mac(key: bytes, topic: str, boot: int, seq: int, body: bytes) -> bytes:
    """HMAC-SHA256 over topic, counters and frame: `topic LF boot LF seq LF body`, numbers in decimal."""
    return hmac.new(key, f"{topic}\n{boot}\n{seq}\n".encode() + body, hashlib.sha256).digest()
