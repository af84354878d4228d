"""Addresses of services as settings carry them. What is wrong with one is said without it: it may hold a password."""

from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

#: How SQLAlchemy names it; libpq does not know it.
_DRIVER: Final = "+psycopg2"
_DATABASE: Final = ("postgresql", "postgres", f"postgresql{_DRIVER}")
_REDIS: Final = ("redis", "rediss")
_MQTT: Final = ("mqtt", "mqtts")


def database_address(url: SecretStr) -> SecretStr:
    """As libpq has it, whatever SQLAlchemy calls it; the rest is libpq's to judge, which knows several hosts and
    sockets too. Raises ValueError.
    """
    scheme, _, rest = url.get_secret_value().partition("://")
    if scheme not in _DATABASE:
        raise ValueError("expected postgresql://user:password@host:port/database")
    return SecretStr(f"{scheme.removesuffix(_DRIVER)}://{rest}")


def redis_address(url: SecretStr) -> SecretStr:
    """Raises ValueError."""
    if _scheme(url) != "unix" and not _names_a_host(url, _REDIS):
        raise ValueError("expected redis://:password@host:port/0, rediss:// for TLS, or unix:// and a path")
    return url


def mqtt_address(url: SecretStr) -> SecretStr:
    """Raises ValueError."""
    if not _names_a_host(url, _MQTT):
        raise ValueError("expected mqtt://user:password@host:port, or mqtts:// for TLS")
    return url


def _scheme(url: SecretStr) -> str:
    return url.get_secret_value().partition("://")[0]


def _names_a_host(url: SecretStr, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url.get_secret_value())
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its message quotes what it was given
        return False
