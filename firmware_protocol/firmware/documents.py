"""What is signed: the root of trust (who may sign what) and the release (which image, for whom, until when)."""

import hashlib
import re
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from firmware_protocol.firmware.envelope import MAX_SIGNATURES, Envelope, KeyId
from firmware_protocol.firmware.errors import BadDocument
from firmware_protocol.limits import MAX_MANIFEST_BYTES
from firmware_protocol.types import ClockMs, Counter

ROOT_TYPE: Final = "application/vnd.voltbay.firmware-root+json"
RELEASE_TYPE: Final = "application/vnd.voltbay.firmware-release+json"
#: An image that a cabinet with a slow modem still gets in hours.
MAX_IMAGE_BYTES: Final = 512 * 1024 * 1024

Hardware = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$(?!\n)")]
#: One to four numbers, which order it, and a suffix, which does not.
Version = Annotated[
    str, Meta(max_length=64, pattern=r"^[0-9]{1,9}(\.[0-9]{1,9}){0,3}([-+][A-Za-z0-9.-]{1,32})?$(?!\n)")
]
_NUMBERS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}(?=$|[-+])")
_PARTS: Final = 4


class Role(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`threshold` of these keys must sign."""

    keyids: Annotated[tuple[KeyId, ...], Meta(min_length=1, max_length=MAX_SIGNATURES)]
    threshold: Annotated[int, Meta(ge=1, le=MAX_SIGNATURES)]

    def __post_init__(self) -> None:
        if len(set(self.keyids)) != len(self.keyids) or self.threshold > len(self.keyids):
            raise ValueError("a role names each key once, and has no fewer keys than its threshold")


class Root(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may sign roots and releases. Version n+1 is signed by the root role of n and by its own."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    version: Counter
    expires_ms: ClockMs
    #: Key id → raw public key in hex.
    keys: Annotated[dict[KeyId, Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]], Meta(max_length=2 * MAX_SIGNATURES)]
    root: Role
    releases: Role

    def __post_init__(self) -> None:
        for name, key in self.keys.items():
            if hashlib.sha256(bytes.fromhex(key)).hexdigest() != name:
                raise ValueError(f"the key {name} has another name")
        if {*self.root.keyids, *self.releases.keyids} - self.keys.keys():
            raise ValueError("a role names a key that is not in `keys`")

    def keys_of(self, role: Role) -> dict[str, bytes]:
        return {name: bytes.fromhex(self.keys[name]) for name in role.keyids}


class Image(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file that is installed."""

    size: Annotated[int, Meta(ge=1, le=MAX_IMAGE_BYTES)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Release(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version for some hardware. All of it is signed together: no part can be combined with one of another.

    `counter` rises with every release for the same hardware and is what "older" means; `version` is for people, and
    for `min_version`: the lowest version that may be running when this is installed.
    """

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    version: Version
    counter: Counter
    hardware: Annotated[tuple[Hardware, ...], Meta(min_length=1, max_length=64)]
    issued_ms: ClockMs
    expires_ms: ClockMs
    image: Image
    min_version: Version | None = None

    def __post_init__(self) -> None:
        if self.expires_ms <= self.issued_ms:
            raise ValueError("a release expires after it was issued")


class Bundle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `update_firmware` carries: new roots in order, for cabinets that know only older ones, and the release."""

    v: Annotated[int, Meta(ge=1, le=1)] = 1
    roots: Annotated[tuple[Envelope, ...], Meta(max_length=32)] = ()
    release: Envelope


D = TypeVar("D", Root, Release)


def canonical(document: Root | Release) -> bytes:
    """The one way to write it: keys sorted, no white space, no default left out."""
    return msgspec.json.encode(document, order="sorted")


def unsigned(document: Root | Release) -> Envelope:
    """To be signed."""
    kind = ROOT_TYPE if isinstance(document, Root) else RELEASE_TYPE
    return Envelope(payload_type=kind, payload=canonical(document))


def read_root(envelope: Envelope) -> Root:
    """Raises BadDocument. Proves nothing: see `trust`."""
    return _read(envelope, ROOT_TYPE, Root)


def read_release(envelope: Envelope) -> Release:
    """Raises BadDocument. Proves nothing: see `trust`."""
    return _read(envelope, RELEASE_TYPE, Release)


def _read(envelope: Envelope, kind: str, cls: type[D]) -> D:
    if envelope.payload_type != kind:
        raise BadDocument(f"expected a {kind}, got {envelope.payload_type}")
    try:
        document = msgspec.json.decode(envelope.payload, type=cls)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadDocument(f"{kind}: {error}") from error
    if canonical(document) != envelope.payload:
        raise BadDocument(f"{kind}: not in canonical form")
    return document


def read_bundle(data: bytes) -> Bundle:
    """Raises BadDocument."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise BadDocument(f"{len(data)} bytes, at most {MAX_MANIFEST_BYTES}")
    try:
        return msgspec.json.decode(data, type=Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadDocument(f"not a bundle: {error}") from error


def write_bundle(roots: tuple[Envelope, ...], release: Envelope) -> bytes:
    """The newest roots that fit beside the release; a cabinet that trusts only an older one answers `root_gap`."""
    kept = roots
    while len(data := msgspec.json.encode(Bundle(roots=kept, release=release))) > MAX_MANIFEST_BYTES and kept:
        kept = kept[1:]
    return data


def version_order(version: str) -> tuple[int, ...] | None:
    """The numbers of a version, for comparison; None when it does not begin with numbers."""
    found = _NUMBERS.match(version)
    if found is None:
        return None
    numbers = [int(part) for part in found.group().split(".")]
    return tuple(numbers + [0] * (_PARTS - len(numbers)))
