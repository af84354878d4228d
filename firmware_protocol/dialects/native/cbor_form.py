"""CBOR bytes to trees and back: the subset of RFC 8949 that the protocol allows (docs/protocol.md, 4.5)."""

from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Final, Never

import cbor2
import msgspec

from firmware_protocol.errors import FrameTruncated, MalformedFrame, ProtocolError, quote
from firmware_protocol.limits import MAX_NESTING


class _NoTags(Mapping[int, Callable[..., Any]]):
    """Answers every tag with a refusal: a tag can mean a regular expression, a shared reference or a huge number."""

    def __getitem__(self, tag: int) -> Callable[..., Any]:
        def refuse(*_: object) -> Never:
            raise MalformedFrame(f"CBOR tag {tag} is not allowed")

        return refuse

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


_NO_TAGS: Final = _NoTags()


def encode(tree: Any) -> bytes:
    """Definite lengths, no tags, shortest integers; byte strings stay bytes."""
    plain = msgspec.to_builtins(tree, builtin_types=(bytes,))
    return cbor2.dumps(plain)


def to_tree(payload: bytes) -> Any:
    """Decode one item that fills the payload; raises only ProtocolError, in time and memory bounded by its length."""
    stream = BytesIO(payload)
    decoder = cbor2.CBORDecoder(
        stream,
        semantic_decoders=_NO_TAGS,
        max_depth=MAX_NESTING,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )
    try:
        tree = decoder.decode()
    except cbor2.CBORDecodeEOF:
        raise FrameTruncated(f"byte {len(payload)}: CBOR ends too early, in {quote(payload)}") from None
    except (cbor2.CBORDecodeError, ProtocolError, ValueError, OverflowError, MemoryError) as error:
        raise MalformedFrame(f"near byte {stream.tell()}: not the CBOR of this protocol: {_reason(error)}") from None
    end = stream.tell()
    if end != len(payload):
        raise MalformedFrame(f"byte {end}: expected the end, got {len(payload) - end} more: {quote(payload[end:])}")
    return tree


def _reason(error: Exception) -> str:
    """The decoder's own words, with the cause that it wraps (a key, a tag, a byte that is not UTF-8)."""
    cause = error.__cause__
    return str(error) if cause is None or str(cause) in str(error) else f"{error}: {cause}"
