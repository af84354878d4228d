"""Signed documents: DSSE envelopes (https://github.com/secure-systems-lab/dsse) with Ed25519 signatures.

What is signed are the bytes of the payload together with their type, so that nobody has to agree on how to write JSON
before checking a signature, and a root can never be taken for a release.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Meta, Struct

from firmware_protocol.firmware.errors import BadDocument, NotEnoughSignatures

#: More signers than any fleet has; each costs the cabinet a verification.
MAX_SIGNATURES: Final = 16
#: A payload is a page of JSON; the whole bundle must fit one `update_firmware`.
MAX_PAYLOAD_BYTES: Final = 8 * 1024

KeyId = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Signature(Struct, frozen=True, kw_only=True):
    """`keyid`: SHA-256 of the raw public key, in hex. `sig`: 64 bytes, in base64."""

    keyid: KeyId
    sig: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Envelope(Struct, frozen=True, kw_only=True, rename={"payload_type": "payloadType"}):
    """A payload, what it is, and who signed it."""

    payload_type: Annotated[str, Meta(max_length=100)]
    payload: Annotated[bytes, Meta(max_length=MAX_PAYLOAD_BYTES)]
    signatures: Annotated[tuple[Signature, ...], Meta(max_length=MAX_SIGNATURES)] = ()


def key_id(key: Ed25519PublicKey) -> str:
    """The name of a key in documents: it cannot be chosen, so that one key never counts twice under two names."""
    return hashlib.sha256(raw_key(key)).hexdigest()


def raw_key(key: Ed25519PublicKey) -> bytes:
    """32 bytes (RFC 8032)."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def signed_bytes(envelope: Envelope) -> bytes:
    """DSSE's pre-authentication encoding: lengths in decimal, so that type and payload cannot be shifted."""
    kind = envelope.payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(envelope.payload), envelope.payload)


def sign(envelope: Envelope, key: Ed25519PrivateKey) -> Envelope:
    """With one more signature; a signature of the same key is replaced."""
    name = key_id(key.public_key())
    others = tuple(each for each in envelope.signatures if each.keyid != name)
    made = Signature(keyid=name, sig=key.sign(signed_bytes(envelope)))
    return msgspec.structs.replace(envelope, signatures=(*others, made))


def require_signatures(envelope: Envelope, keys: Mapping[str, bytes], threshold: int) -> None:
    """Raises NotEnoughSignatures unless `threshold` different keys among `keys` (id → raw key) have signed."""
    message = signed_bytes(envelope)
    good = {each.keyid for each in envelope.signatures if _is_good(each, keys.get(each.keyid), message)}
    if len(good) < threshold:
        raise NotEnoughSignatures(f"{len(good)} valid signatures of {len(keys)} keys, {threshold} needed")


def _is_good(signature: Signature, key: bytes | None, message: bytes) -> bool:
    if key is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature.sig, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def read_envelope(data: bytes) -> Envelope:
    """Raises BadDocument."""
    try:
        return msgspec.json.decode(data, type=Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadDocument(f"not an envelope: {error}") from error


def write_envelope(envelope: Envelope) -> bytes:
    return msgspec.json.encode(envelope)
