"""Passwords as Mosquitto's password files hold them."""

import base64
import hashlib
import secrets
from collections.abc import Iterable, Mapping
from typing import Final

#: Secrets are 256 random bits: more rounds would protect nothing, and a broker that restarts under many cabinets must
#: check all their passwords in seconds. 101 is mosquitto_passwd's own number.
_ROUNDS: Final = 101
#: What people choose has fewer bits, and such passwords are few.
ENTERED_ROUNDS: Final = 10_000
_SALT_BYTES: Final = 12


def broker_hash(password: str, rounds: int = _ROUNDS) -> str:
    """PBKDF2-SHA512, `$7$`, as mosquitto 2 reads it."""
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def password_file(users: Mapping[str, str]) -> str:
    """The file for users whose passwords are known."""
    return password_lines((user, broker_hash(password)) for user, password in users.items())


def password_lines(hashes: Iterable[tuple[str, str]]) -> str:
    """The file for users whose hashes are known."""
    return "".join(f"{user}:{digest}\n" for user, digest in hashes)
