"""One byte range of a file (RFC 9110, 14). Several ranges at once are answered with the whole, which the RFC allows."""

import re
from typing import Final, NamedTuple

_RANGE: Final = re.compile(r"bytes=(?P<first>[0-9]{0,19})-(?P<last>[0-9]{0,19})")


class Span(NamedTuple):
    """From `start` up to and not including `stop`."""

    start: int
    stop: int


class Unsatisfiable(Exception):
    """A well-formed range that begins behind the end."""


def asked_range(header: str | None, size: int) -> Span | None:
    """The part of a file of `size` bytes that is asked for; None: all of it. Raises Unsatisfiable.

    What is not understood is ignored, as the RFC asks.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or not (found["first"] or found["last"]):
        return None
    if not found["first"]:
        length = int(found["last"])
        if length == 0:
            raise Unsatisfiable
        return Span(max(0, size - length), size)
    first = int(found["first"])
    last = int(found["last"]) if found["last"] else size - 1
    if last < first and found["last"]:
        return None
    if first >= size:
        raise Unsatisfiable
    return Span(first, min(last + 1, size))
