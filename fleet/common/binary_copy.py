"""Rows as PostgreSQL's binary COPY reads them, a column at a time: values go from lists into bytes in C.

A row is its number of fields, then the length of each field and its bytes, most significant first (PostgreSQL,
"COPY", Binary Format). Rows with the same fields missing have one layout: a template repeated, into which each byte of
a column is written by a slice with the row's width as its step. Numbers, booleans and instants only: what has one
width.
"""

import sys
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import compress
from struct import pack
from typing import Final

#: Signature, no flags, no header extension.
_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL: Final = b"\xff\xff"
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SWAPPED: Final = sys.byteorder == "little"


class Kind(StrEnum):
    """A column's type; the value is the code of `array` that has its width."""

    BOOLEAN = "b"
    SMALLINT = "h"
    INTEGER = "i"
    BIGINT = "q"
    REAL = "f"
    DOUBLE = "d"
    #: Microseconds since 2000: what `microseconds` gives.
    INSTANT = BIGINT


Column = Sequence[float | None]


def microseconds(at: datetime) -> int:
    """An aware instant as binary COPY has it."""
    return (at - _EPOCH) // _MICROSECOND


def rows(kinds: Sequence[Kind], columns: Sequence[Column]) -> bytes:
    """The columns (of one length) as the whole input of COPY … WITH (FORMAT binary); nothing when they are empty.

    Raises OverflowError for a number that does not fit its column.
    """
    if not columns[0]:
        return b""
    cells = [packed(kind, column) for kind, column in zip(kinds, columns, strict=True)]
    if None not in cells:
        return _HEAD + _block(cells, len(columns[0])) + _TAIL
    nullable = [number for number, each in enumerate(cells) if each is None]
    return _HEAD + b"".join(_blocks(kinds, columns, nullable)) + _TAIL


def _blocks(kinds: Sequence[Kind], columns: Sequence[Column], nullable: Sequence[int]) -> Iterator[bytearray]:
    """Rows by which of their `nullable` fields are missing."""
    missing: dict[tuple[bool, ...], list[int]] = defaultdict(list)
    for row, pattern in enumerate(zip(*([value is None for value in columns[each]] for each in nullable), strict=True)):
        missing[pattern].append(row)
    for pattern, chosen in missing.items():
        absent = set(compress(nullable, pattern))
        yield _block(
            [
                None if number in absent else packed(kind, [column[row] for row in chosen])
                for number, (kind, column) in enumerate(zip(kinds, columns, strict=True))
            ],
            len(chosen),
        )


def packed(kind: Kind, column: Column) -> "array[float] | None":
    """The column as numbers side by side. None: something is missing in it."""
    try:
        return array(kind, column)  # type: ignore[arg-type]  # None is what it finds
    except TypeError:  # cheaper than looking for it first
        return None


def _block(cells: "Sequence[array[float] | None]", count: int) -> bytearray:
    """`count` rows with these fields."""
    template = pack(">h", len(cells)) + b"".join(
        pack(">i", -1) if each is None else pack(">i", each.itemsize) + bytes(each.itemsize) for each in cells
    )
    block, width, at = bytearray(template * count), len(template), 2
    for each in cells:
        at += 4
        if each is not None:
            _fill(block, each, at, width)
            at += each.itemsize
    return block


def _fill(block: bytearray, cells: "array[float]", at: int, width: int) -> None:
    if _SWAPPED:
        cells.byteswap()
    raw, size = cells.tobytes(), cells.itemsize
    for byte in range(size):
        block[at + byte :: width] = raw[byte::size]
