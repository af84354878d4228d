import pytest
from pydantic import ValidationError

from fleet.common.networks import CabinetNetworks, around, one_line
from fleet.settings import Settings


@pytest.mark.parametrize(
    ("source", "admitted"),
    [
        ("10.20.3.4", True),
        ("::ffff:10.20.3.4", True),
        ("10.21.0.1", False),
        ("fd00::1", True),
        ("fd01::1", False),
        ("no address", False),
    ],
)
def test_only_the_networks_that_are_named(source: str, *, admitted: bool) -> None:
    networks = CabinetNetworks.of(Settings(device_networks=("10.20.0.0/16", "fd00::/64")))
    assert networks.admit(source) is admitted
    assert not networks.missing


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("10.20.3.4", "10.20.3.0/24"),
        ("::ffff:10.20.3.4", "10.20.3.0/24"),
        ("fd00:1:2:3::4", "fd00:1:2:3::/64"),
        ("no address", "no address"),
    ],
)
def test_what_an_address_is_near_to(source: str, network: str) -> None:
    assert around(source) == network


def test_without_networks_anybody_in_development_and_nobody_in_production() -> None:
    assert CabinetNetworks.of(Settings(device_networks=())).admit("203.0.113.7")
    closed = CabinetNetworks(production=True)
    assert closed.missing
    assert not closed.admit("127.0.0.1")


def test_what_is_no_network_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match="device_networks"):
        Settings(device_networks=("10.20.0.0/99",))


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("10.20.3.4", "10.20.3.4"),
        ("::ffff:10.20.3.4", "10.20.3.4"),
        ("fd00:1:2:3::4", "fd00:1:2:3::/64"),
        ("fd00:1:2:3:ffff::9", "fd00:1:2:3::/64"),
        ("unknown", "unknown"),
    ],
)
def test_one_line_is_one_caller(source: str, line: str) -> None:
    assert one_line(source) == line
