"""The dialects of this build, by the name that a station carries in the database."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from firmware_protocol.dialect import Dialect
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.errors import UnknownDialect

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType({NATIVE.name: NATIVE})


def get_dialect(name: str) -> Dialect:
    """The dialect of that name; raises UnknownDialect."""
    try:
        return DIALECTS[name]
    except KeyError:
        raise UnknownDialect(f"expected one of {', '.join(DIALECTS)}, got {name[:40]!r}") from None
