"""The sign that cabinets put on their HTTP calls. It has no secret: whoever knows an IMEI can make one."""

import hmac
from collections.abc import Mapping
from hashlib import md5
from typing import Final

SIGN_KEY: Final = "sign"


def sign_base(parameters: Mapping[str, str]) -> str:
    """`key=value` of every parameter but the sign itself, sorted by key, joined by `|` (volinks.md §10.1)."""
    return "|".join(f"{key}={value}" for key, value in sorted(parameters.items()) if key != SIGN_KEY)


def sign(parameters: Mapping[str, str]) -> str:
    """MD5 of `sign_base` in lower-case hex."""
    return md5(sign_base(parameters).encode(), usedforsecurity=False).hexdigest()


def sign_ok(parameters: Mapping[str, str]) -> bool:
    """Whether the `sign` among `parameters` fits. False is odd; True proves nothing about who is calling."""
    given = parameters.get(SIGN_KEY, "")
    return hmac.compare_digest(given.lower().encode(), sign(parameters).encode())
