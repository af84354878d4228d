"""The two byte forms of the native protocol, and how a receiver tells them apart."""

from enum import StrEnum
from typing import Final

from firmware_protocol.errors import FrameTruncated, MalformedFrame, quote


class Encoding(StrEnum):
    JSON = "json"
    CBOR = "cbor"

    @property
    def content_type(self) -> str:
        """What MQTT 5 calls this encoding (property 0x03)."""
        return f"application/{self.value}"


_BY_CONTENT_TYPE: Final = {encoding.content_type: encoding for encoding in Encoding}
_JSON_SPACE: Final = b" \t\r\n"
#: Major type 5 (RFC 8949, 3.1): the top level of a frame is a map.
_CBOR_MAP: Final = range(0xA0, 0xC0)


def _from_first_byte(payload: bytes) -> Encoding:
    if not payload:
        raise FrameTruncated("expected a JSON object or a CBOR map, got an empty payload")
    first = payload[0]
    if first == 0x7B or first in _JSON_SPACE:
        return Encoding.JSON
    if first in _CBOR_MAP:
        return Encoding.CBOR
    raise MalformedFrame(
        f"byte 0: expected '{{' (JSON) or a CBOR map (0xa0 to 0xbf), got 0x{first:02x} in {quote(payload)}"
    )


def detect(payload: bytes, content_type: str | None) -> Encoding:
    """Tell JSON from CBOR; a content type that names one while the bytes are the other is MalformedFrame."""
    found = _from_first_byte(payload)
    if content_type is None or _BY_CONTENT_TYPE.get(content_type) is found:
        return found
    declared = _BY_CONTENT_TYPE.get(content_type.partition(";")[0].strip().lower())
    if declared is found:
        return found
    wanted = " or ".join(_BY_CONTENT_TYPE)
    if declared is None:
        raise MalformedFrame(f"content type {content_type[:80]!r} is not {wanted}")
    raise MalformedFrame(f"content type says {declared.name}, the first byte 0x{payload[0]:02x} says {found.name}")
