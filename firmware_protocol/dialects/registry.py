"""Every dialect of this build by its name: for the gateway, and for whoever must know what a cabinet can do."""

from typing import Final

from firmware_protocol.dialect import Capabilities, Dialect
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.errors import UnknownDialect

DIALECTS: Final[dict[str, Dialect]] = {NATIVE.name: NATIVE}


def named(name: str) -> Dialect:
    """Raises UnknownDialect."""
    try:
        return DIALECTS[name]
    except KeyError:
        raise UnknownDialect(f"dialect {name!r}: this build has {', '.join(DIALECTS)}") from None


def capabilities_of(name: str) -> Capabilities | None:
    """What cabinets of this dialect can do; None when this build does not speak it."""
    dialect = DIALECTS.get(name)
    return None if dialect is None else dialect.capabilities
