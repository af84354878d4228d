"""How layers become what a station should have, and how far it is from that. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from firmware_protocol.config_keys import fault_of
from firmware_protocol.limits import MAX_CONFIG_KEYS
from fleet.devices.configuration.errors import InvalidConfig

Values = Mapping[str, Any]
#: Of one layer, so that four of them together are hardly ever more than a cabinet takes.
MAX_LAYER_KEYS: Final = 64
#: A version that a cabinet did not take is sent again after this, then after twice as long, up to the longest.
RETRY_AFTER: Final = timedelta(seconds=30)
RETRY_LONGEST: Final = timedelta(hours=6)


class Standing(StrEnum):
    """Where a station is, in one word."""

    #: Nobody wants anything of it.
    UNSET = "unset"
    IN_SYNC = "in_sync"
    #: The wanted version is on its way, or the station is offline.
    PENDING = "pending"
    REFUSED = "refused"
    #: It has the wanted version and says other values.
    DRIFTED = "drifted"


@dataclass(frozen=True, slots=True)
class Difference:
    key: str
    desired: Any
    reported: Any


def check_values(values: Values) -> None:
    """Raises InvalidConfig for the first key or value that the catalogue does not allow."""
    if len(values) > MAX_LAYER_KEYS:
        raise InvalidConfig(f"{len(values)} keys, at most {MAX_LAYER_KEYS}", field="values")
    for key, value in values.items():
        fault = fault_of(key, value)
        if fault is not None:
            raise InvalidConfig(fault, field=f"values.{key}"[:100])


def merge(layers: Iterable[Values]) -> dict[str, Any]:
    """From the widest to the narrowest: the narrower one wins, key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    return merged


def desired_after(before: Values, merged: Values) -> dict[str, Any]:
    """What the cabinet is to be told. A key that no layer names any more is given back to the cabinet: null.

    Nulls stay, since a cabinet that missed one would keep the old value for ever; they go first when there is no room.
    """
    given_back = [key for key in before if key not in merged]
    room = max(0, MAX_CONFIG_KEYS - len(merged))
    return {**dict.fromkeys(given_back[:room]), **merged}


def differences(desired: Values, reported: Values) -> list[Difference]:
    """Keys whose value is not the wanted one. A wanted null is met by whatever the cabinet has by itself."""
    return [
        Difference(key, value, reported.get(key))
        for key, value in sorted(desired.items())
        if value is not None and not _same(value, reported.get(key))
    ]


def _same(left: object, right: object) -> bool:
    """True is not 1; 1.0 is 1, which JSON cannot tell apart."""
    return isinstance(left, bool) is isinstance(right, bool) and left == right


def standing(
    *, version: int, accepted_version: int, refused_version: int | None, drifted: bool, desired: Values
) -> Standing:
    if not desired and version == accepted_version:
        return Standing.UNSET
    if version == accepted_version:
        return Standing.DRIFTED if drifted else Standing.IN_SYNC
    return Standing.REFUSED if refused_version == version else Standing.PENDING


def wait_after(tries: int) -> timedelta:
    """Until the next try, after so many in vain."""
    doublings = min(max(tries - 1, 0), 12)
    return min(RETRY_LONGEST, RETRY_AFTER * (1 << doublings))
