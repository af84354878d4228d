"""From where vendors' cabinets may come, and whom an address stands for."""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from fleet.settings import Settings

#: Bits of a network that one place has, by version of the address.
_NEAR: Final = {4: 24, 6: 64}


@dataclass(frozen=True, slots=True)
class CabinetNetworks:
    """`VOLTBAY_DEVICE_NETWORKS`. Without it: anybody in development, nobody in production."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    production: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        networks = tuple(ipaddress.ip_network(each, strict=False) for each in settings.device_networks)
        return cls(networks, settings.production)

    @property
    def missing(self) -> bool:
        """Nobody is let in, because nobody has said from where."""
        return self.production and not self.networks

    def admit(self, source: str) -> bool:
        if not self.networks:
            return not self.production
        address = _address(source)
        return address is not None and any(address in each for each in self.networks)


def around(source: str) -> str:
    """The network that an address is taken to be in: what its provider may give it the next time is most often there.

    What is no address stands for itself.
    """
    address = _address(source)
    if address is None:
        return source
    return str(ipaddress.ip_network(f"{address}/{_NEAR[address.version]}", strict=False))


@lru_cache(4096)
def one_line(source: str) -> str:
    """Whose requests count as one caller's: an IPv4 address, or the IPv6 network that a line has, in which whoever
    sits behind it can take a new address for every request. What is no address stands for itself.
    """
    address = _address(source)
    if address is None:
        return source
    return str(address) if address.version == 4 else str(ipaddress.ip_network(f"{address}/64", strict=False))


def _address(source: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
