"""Secrets at rest: sealed with AES-256-GCM under a key of the settings, so that a copy of the database shows none."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fleet.common.errors import FleetError
from fleet.settings import Settings

_KEY_BYTES = 32
_NONCE_BYTES = 12


class Unreadable(FleetError):
    """What was sealed cannot be opened: it was changed, belongs elsewhere, or VOLTBAY_SECRET_KEY is another one."""

    code = "unreadable_secret"


class Vault:
    """Seals and opens for one purpose. `context` says whose secret it is: moved to another row, it does not open."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key[:_KEY_BYTES])

    @classmethod
    def of(cls, settings: Settings, purpose: str) -> "Vault":
        return cls(settings.secret_bytes(f"vault:{purpose}"))

    def seal(self, secret: bytes, context: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises Unreadable."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except (InvalidTag, ValueError) as error:
            message = f"the secret of {context} cannot be opened with this VOLTBAY_SECRET_KEY"
            raise Unreadable(message, context=context) from error

    def open_or_any(self, sealed: bytes, context: str, size: int) -> bytes:
        """One that cannot be opened proves nothing and stops nobody else: its place is taken by a random one."""
        try:
            return self.open(sealed, context)
        except Unreadable:
            return secrets.token_bytes(size)
