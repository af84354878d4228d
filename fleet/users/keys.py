"""The Ed25519 keys that sign access tokens: the current one, and the one before while its tokens live."""

import base64
import hashlib
import json
import os
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

CURRENT = "token.pem"
PREVIOUS = "token-previous.pem"


def kid_of(key: Ed25519PublicKey) -> str:
    """The key's name in token headers: its JWK thumbprint (RFC 7638, RFC 8037)."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": _urlsafe(raw)}
    return _urlsafe(hashlib.sha256(json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()).digest())


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read_key(pem: str) -> Ed25519PrivateKey:
    """Raises ValueError when `pem` holds something else. Line ends may be written as backslash n."""
    key = serialization.load_pem_private_key(pem.replace("\\n", "\n").encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("access tokens are signed with an Ed25519 key")  # noqa: TRY004  # a wrong setting, not a bug
    return key


def key_file(folder: Path) -> Ed25519PrivateKey:
    """The key kept in `folder`, made at first use (mode 0600). Several processes may ask at once: one key results."""
    path = folder / CURRENT
    if not path.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = _written(folder, Ed25519PrivateKey.generate())
        try:
            path.hardlink_to(made)
        except FileExistsError:
            pass  # another process was faster; its key is as good
        finally:
            made.unlink()
    return read_key(path.read_text())


def previous_key_file(folder: Path) -> Ed25519PrivateKey | None:
    path = folder / PREVIOUS
    return read_key(path.read_text()) if path.exists() else None


def rotate(folder: Path) -> None:
    """Make a new current key; the old one is accepted for as long as its file stays. Restart the API afterwards."""
    key_file(folder)
    (folder / CURRENT).replace(folder / PREVIOUS)
    key_file(folder)


def _written(folder: Path, key: Ed25519PrivateKey) -> Path:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    handle, name = tempfile.mkstemp(dir=folder)  # mode 0600
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
    return Path(name)
