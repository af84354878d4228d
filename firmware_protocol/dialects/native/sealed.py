"""Signed frames: a frame in an envelope with a counter and an HMAC (docs/protocol.md, 19)."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from firmware_protocol.dialect import Published
from firmware_protocol.dialects.native import cbor_form, json_form
from firmware_protocol.dialects.native.codec import write
from firmware_protocol.dialects.native.explain import field_error
from firmware_protocol.encoding import Encoding, detect
from firmware_protocol.errors import FrameTooLarge, MalformedFrame, quote
from firmware_protocol.limits import MAX_FRAME_BYTES, PROTOCOL_VERSION
from firmware_protocol.signing import MAC_BYTES, envelope_mac, same
from firmware_protocol.types import Counter, CounterOrZero

KeyId = Annotated[str, Meta(min_length=1, max_length=16)]
Mac = Annotated[bytes, Meta(min_length=MAC_BYTES, max_length=MAC_BYTES)]


class Sealed(Struct, frozen=True, kw_only=True):
    """`boot`, `seq`: the boot that sends it, and a count of all signed frames of that boot; to a cabinet 0 and the
    backend's clock in ms. `body`: the frame's bytes.
    """

    v: Literal[1]
    boot: CounterOrZero
    seq: Counter
    key: KeyId
    mac: Mac
    body: bytes

    def is_genuine(self, topic: str, signing_key: bytes) -> bool:
        return same(self.mac, envelope_mac(signing_key, topic, self.boot, self.seq, self.body))


class _JsonSealed(Struct, frozen=True, kw_only=True):
    v: Literal[1]
    boot: CounterOrZero
    seq: Counter
    key: KeyId
    mac: Mac
    body: str


_JSON: Final = msgspec.json.Decoder(_JsonSealed)


def seal(message: Published, *, key_id: str, signing_key: bytes, boot: int, seq: int) -> Published:
    """Wrap what is to be published in the encoding it has. FrameTooLarge when it does not fit any more."""
    encoding = detect(message.payload, message.content_type)
    body = message.payload
    tree = {
        "v": PROTOCOL_VERSION,
        "boot": boot,
        "seq": seq,
        "key": key_id,
        "mac": envelope_mac(signing_key, message.topic, boot, seq, body),
        "body": body.decode() if encoding is Encoding.JSON else body,
    }
    payload = write(tree, encoding)
    return Published(
        topic=message.topic,
        payload=payload,
        qos=message.qos,
        retain=message.retain,
        content_type=message.content_type,
    )


def read(payload: bytes, content_type: str | None = None) -> Sealed:
    """The envelope, not yet checked. Raises ProtocolError for what is none."""
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"expected at most {MAX_FRAME_BYTES} bytes, got {quote(payload)}")
    if detect(payload, content_type) is Encoding.JSON:
        return _read_json(payload)
    tree = cbor_form.to_tree(payload)
    try:
        return msgspec.convert(tree, Sealed, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise field_error(tree, Sealed, str(error)) from None


def _read_json(payload: bytes) -> Sealed:
    json_form.check(payload)
    try:
        found = _JSON.decode(payload)
    except msgspec.ValidationError as error:
        raise field_error(None, None, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise json_form.syntax_error(payload, error) from None
    try:
        body = found.body.encode()
    except UnicodeEncodeError:
        raise MalformedFrame("body: half of a surrogate pair") from None
    return Sealed(v=found.v, boot=found.boot, seq=found.seq, key=found.key, mac=found.mac, body=body)
