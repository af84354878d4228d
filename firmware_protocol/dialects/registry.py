"""Every dialect of this build by its name: for the gateway, and for whoever must know what a cabinet can do."""

from typing import Final

from firmware_protocol.dialect import Capabilities, Dialect
from firmware_protocol.dialects.native import NATIVE
from firmware_protocol.dialects.relink.translate import RELINK
from firmware_protocol.dialects.volinks.translate import VOLINKS
from firmware_protocol.errors import UnknownDialect
from firmware_protocol.vendor import VendorDialect

#: Spoken by cabinets that number their events.
DIALECTS: Final[dict[str, Dialect]] = {NATIVE.name: NATIVE}
#: Spoken by those that were not made for this backend.
VENDORS: Final[dict[str, VendorDialect]] = {VOLINKS.name: VOLINKS, RELINK.name: RELINK}
CAPABILITIES: Final[dict[str, Capabilities]] = {
    **{name: dialect.capabilities for name, dialect in DIALECTS.items()},
    **{name: dialect.capabilities for name, dialect in VENDORS.items()},
}


def named(name: str) -> Dialect:
    """A dialect whose cabinets number their events. Raises UnknownDialect."""
    try:
        return DIALECTS[name]
    except KeyError:
        raise UnknownDialect(f"dialect {name!r}: this build has {', '.join(CAPABILITIES)}") from None


def vendor(name: str) -> VendorDialect | None:
    """A vendor's dialect; None for a native one, and for what this build does not speak."""
    return VENDORS.get(name)


def capabilities_of(name: str) -> Capabilities | None:
    """What cabinets of this dialect can do; None when this build does not speak it."""
    return CAPABILITIES.get(name)
