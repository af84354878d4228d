"""From where vendors' cabinets may come."""

import ipaddress
from dataclasses import dataclass
from typing import Self

from fleet.settings import Settings


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
        try:
            address = ipaddress.ip_address(source)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in each for each in self.networks)
