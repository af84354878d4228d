"""One set of envelope types, read from either encoding."""

from typing import Any, Final, Generic, TypeVar

import msgspec

from firmware_protocol.dialects.native import cbor_form, json_form
from firmware_protocol.dialects.native.envelope import union_of
from firmware_protocol.dialects.native.explain import field_error, frame_error, shown
from firmware_protocol.encoding import Encoding, detect
from firmware_protocol.errors import FrameTooLarge, InvalidField, MalformedFrame, ProtocolError, quote
from firmware_protocol.limits import MAX_FRAME_BYTES

E = TypeVar("E", bound=msgspec.Struct)
#: What msgspec raises for bytes it does not like. Deep nesting is refused before, by `json_form.check`.
_SYNTAX_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Reader(Generic[E]):
    """Reads frames of one direction. Raises only ProtocolError, in time and memory bounded by MAX_FRAME_BYTES."""

    def __init__(self, types: dict[str, type[E]]) -> None:
        self._types = types
        self._union = union_of(types)
        self._json: msgspec.json.Decoder[E] = msgspec.json.Decoder(self._union)
        fields = msgspec.structs.fields(next(iter(types.values())))
        self._keys = ("type", *(field.encode_name for field in fields if field.required))

    def read(self, payload: bytes, content_type: str | None) -> E:
        if len(payload) > MAX_FRAME_BYTES:
            raise FrameTooLarge(f"expected at most {MAX_FRAME_BYTES} bytes, got {quote(payload)}")
        if detect(payload, content_type) is Encoding.JSON:
            return self._read_json(payload)
        return self._read_cbor(payload)

    def _read_json(self, payload: bytes) -> E:
        json_form.check(payload)
        try:
            envelope = self._json.decode(payload)
        except msgspec.ValidationError as error:
            raise self._explain(payload, str(error)) from None
        except _SYNTAX_ERRORS as error:
            raise json_form.syntax_error(payload, error) from None
        # Text with U+0000 fits no PostgreSQL column; JSON can only say it escaped, which makes the check nearly free.
        if b"\\u0000" in payload:
            _refuse_nul(json_form.to_tree(payload), "")
        return envelope

    def _read_cbor(self, payload: bytes) -> E:
        tree = cbor_form.to_tree(payload)
        try:
            # One class converts several times faster than the union, whose type msgspec would work out anew each time.
            envelope = msgspec.convert(tree, self._types[tree["type"]], builtin_types=(bytes,))
        except (LookupError, TypeError):
            raise frame_error(tree, self._keys, self._types, "expected a frame") from None
        except msgspec.ValidationError as error:
            raise frame_error(tree, self._keys, self._types, str(error)) from None
        if b"\x00" in payload and b"\\u0000" in json_form.encode(envelope):
            _refuse_nul(tree, "")
        return envelope

    def _explain(self, payload: bytes, complaint: str) -> ProtocolError:
        try:
            tree = json_form.to_tree(payload)
        except InvalidField as number:
            # The typed decoder names the field, when that number was what it stumbled over.
            return field_error(None, None, complaint if "out of range" in complaint else str(number))
        return frame_error(tree, self._keys, self._types, complaint)


def read_tree(payload: bytes, content_type: str | None = None) -> Any:
    """Any frame as plain values, within the bounds and the encodings of the protocol."""
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"expected at most {MAX_FRAME_BYTES} bytes, got {quote(payload)}")
    if detect(payload, content_type) is Encoding.CBOR:
        return cbor_form.to_tree(payload)
    json_form.check(payload)
    return json_form.to_tree(payload)


def write(tree: Any, encoding: Encoding) -> bytes:
    """Encode; FrameTooLarge when the other side would refuse it, MalformedFrame for what JSON or CBOR cannot say."""
    form = json_form if encoding is Encoding.JSON else cbor_form
    try:
        payload: bytes = form.encode(tree)
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedFrame(f"cannot be written as {encoding.name}: {error}") from None
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameTooLarge(f"expected at most {MAX_FRAME_BYTES} bytes, got {len(payload)}")
    return payload


def _refuse_nul(value: Any, path: str) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidField(f"{path}: expected text without U+0000, got {shown(value)}")
    elif isinstance(value, dict):
        for key, item in value.items():
            where = f"{path}.{key}".lstrip(".")
            _refuse_nul(key, f"a key of {path or 'frame'}")
            _refuse_nul(item, where)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_nul(item, f"{path}[{index}]")
