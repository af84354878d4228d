"""Opaque cursors: where a list goes on, signed so that nobody makes one up."""

import base64
import binascii
import hmac
import json
from typing import Any

from fleet.common.errors import InvalidInput

_MAC_BYTES = 12
DEFAULT_LIMIT = 50
MAX_LIMIT = 100


class Cursors:
    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, of: str, value: Any) -> str:
        """A cursor for the list named `of`, at `value` (anything JSON holds)."""
        data = json.dumps(value, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(of, data) + data).rstrip(b"=").decode()

    def read(self, of: str, cursor: str | None) -> Any:
        """The value; None without a cursor. Raises InvalidInput for one that is not ours or of another list."""
        if cursor is None:
            return None
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        mac, data = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(of, data)):
            raise InvalidInput("this is not a cursor of this list", field="cursor")
        return json.loads(data)

    def _mac(self, of: str, data: bytes) -> bytes:
        return hmac.digest(self._secret, of.encode() + b"\0" + data, "sha256")[:_MAC_BYTES]
