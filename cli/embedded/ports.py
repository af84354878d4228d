"""Ports that stay free while nobody listens on them."""

import errno
import random
import socket
import sys
from pathlib import Path

LOOPBACK = "127.0.0.1"
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 20_000
_TRIES = 200
#: Ports this process has spoken for, and for whom.
_claims: dict[int, tuple[str, socket.socket]] = {}


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server that reuses addresses (all of ours do) could listen there now."""
    return problem_of(port, host) is None


def problem_of(port: int, host: str = LOOPBACK) -> str | None:
    """What keeps a server from listening there, as the end of a sentence that begins with the port; None when free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return "is taken" if error.errno == errno.EADDRINUSE else f"cannot be had at {host}: {error.strerror}"
    return None


def claim(port: int, owner: str) -> bool:
    """Speak for `port` until this process ends: two systems that start at once must not both find it free.

    An abstract socket is the claim, because it vanishes with its process; where there are none, nothing is claimed.
    """
    if port in _claims:
        return _claims[port][0] == owner
    if not sys.platform.startswith("linux"):
        return True
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0voltbay-port-{port}")
    except OSError:
        mark.close()
        return False
    _claims[port] = (owner, mark)
    return True


def free_port() -> int:
    """A free port below the range that outgoing connections are given.

    A service that is restarted on its port must find it free: inside that range a reconnecting client could hold it,
    or even connect to itself.
    """
    highest = _first_ephemeral() - 1
    for _ in range(_TRIES):
        port = random.randint(_LOWEST, highest)  # noqa: S311  # not a secret
        if is_free(port):
            return port
    raise OSError(f"no free port between {_LOWEST} and {highest}")


def _first_ephemeral() -> int:
    try:
        first = int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = 32_768
    return first if first > _LOWEST + 1000 else 32_768
