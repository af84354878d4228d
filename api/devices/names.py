"""Which parameter of a call of a Volinks cabinet names the cabinet: for the endpoint, and for its rate limit."""

import re
from collections.abc import Mapping
from typing import Final

#: Of calls that name no cabinet by a rule of their own.
_ANY: Final = ("uuid", "rentboxSN", "deviceUuid", "deviceId")
_NAMES: Final[tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]] = (
    (re.compile(r"/(rentbox/client/connect|iot/client/con)"), ("uuid", "deviceId", "deviceUuid")),
    (re.compile(r"/rentbox/(client/upload|upload/data)"), ("rentboxSN", "uuid")),
    (re.compile(r"/rentbox/(client|order)/return"), ("rentboxSN", "uuid")),
    (re.compile(r"/rentbox/config/data"), ("rentboxSN", "uuid", "deviceUuid")),
    (re.compile(r"/iot/app/version/.*"), ("deviceUuid", "uuid", "rentboxSN")),
    (re.compile(r"/(advert|common)/.*"), ("uuid", "rentboxSN")),
)


def hardware_id(path: str, parameters: Mapping[str, str]) -> str:
    """What the cabinet calls itself; `path` is that of the call below the API's prefix. Empty: it does not say."""
    names = next((names for pattern, names in _NAMES if pattern.fullmatch(path)), _ANY)
    return next((parameters[name] for name in names if parameters.get(name)), "")
