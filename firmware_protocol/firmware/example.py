"""The worked example of docs/protocol.md, 16.7. Its private keys are public: never trust them."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware_protocol.firmware.documents import Image, Release, Role, Root, read_root, unsigned, write_bundle
from firmware_protocol.firmware.envelope import Envelope, key_id, raw_key, sign
from firmware_protocol.firmware.trust import Trust, digest

#: 2026-11-23T09:00:00Z, as in the other examples.
NOW_MS: Final = 1_795_424_400_000
_DAY_MS: Final = 86_400_000
HARDWARE: Final = "CAB8-rev3"
RUNNING: Final = "2.4.1"
IMAGE: Final = b"Voltbay example firmware 2.5.0\n"
#: Seeds of RFC 8032 keys: 32 times the same byte.
SIGNERS: Final = tuple(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2, 3))
_IDS: Final = tuple(key_id(signer.public_key()) for signer in SIGNERS)
_ROLE: Final = Role(keyids=_IDS, threshold=2)


def _signed(envelope: Envelope, *signers: Ed25519PrivateKey) -> Envelope:
    for signer in signers:
        envelope = sign(envelope, signer)
    return envelope


ROOT: Final = _signed(
    unsigned(
        Root(
            version=1,
            expires_ms=NOW_MS + 3650 * _DAY_MS,
            keys={name: raw_key(key.public_key()).hex() for name, key in zip(_IDS, SIGNERS, strict=True)},
            root=_ROLE,
            releases=_ROLE,
        )
    ),
    *SIGNERS[:2],
)
RELEASE: Final = Release(
    version="2.5.0",
    counter=12,
    hardware=(HARDWARE,),
    issued_ms=NOW_MS - _DAY_MS,
    expires_ms=NOW_MS + 180 * _DAY_MS,
    image=Image(size=len(IMAGE), sha256=digest(IMAGE)),
    min_version="2.0.0",
)
SIGNED_RELEASE: Final = _signed(unsigned(RELEASE), SIGNERS[0], SIGNERS[2])
BUNDLE: Final = write_bundle((), SIGNED_RELEASE)
#: What the cabinet left the factory with, after its release with the counter 11.
TRUST: Final = Trust(root=read_root(ROOT), counter=11, sha256="ab" * 32)
