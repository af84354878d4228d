"""The configuration keys that cabinets understand: name, type, bounds and meaning (docs/protocol.md, 17).

The backend refuses what is not in here before it reaches a cabinet; a cabinet may know more keys and report them.
"""

import re
from enum import StrEnum
from typing import Final

from msgspec import Struct

from firmware_protocol.types import ConfigValue

#: Keys that begin so belong to one maker: any text, number, boolean or null of at most 256 characters.
OWN_PREFIX: Final = "x_"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CLOCK: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(?:-[A-Z]{2})?")
_MAX_TEXT: Final = 256


class ValueKind(StrEnum):
    INTEGER = "integer"
    BOOLEAN = "boolean"
    TEXT = "text"
    #: HH:MM in the station's own time zone.
    CLOCK = "clock"
    #: BCP 47, language and perhaps region.
    LANGUAGE = "language"
    CHOICE = "choice"


class ConfigKey(Struct, frozen=True, kw_only=True):
    """`low`, `high`: bounds of an integer, or of a text's length. The unit is in the name."""

    name: str
    kind: ValueKind
    meaning: str
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()

    def fault(self, value: ConfigValue) -> str | None:
        """What is wrong with `value`; None when it is allowed. Null is: back to the cabinet's own default."""
        if value is None:
            return None
        match self.kind:
            case ValueKind.INTEGER:
                good = isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high
                wanted = f"an integer from {self.low} to {self.high}"
            case ValueKind.BOOLEAN:
                good, wanted = isinstance(value, bool), "true or false"
            case ValueKind.TEXT:
                good = isinstance(value, str) and self.low <= len(value) <= self.high
                wanted = f"a text of {self.low} to {self.high} characters"
            case ValueKind.CLOCK:
                good, wanted = _matches(_CLOCK, value), "a time of day as 07:30"
            case ValueKind.LANGUAGE:
                good, wanted = _matches(_LANGUAGE, value), "a language as de or pt-BR"
            case ValueKind.CHOICE:
                good, wanted = value in self.choices, f"one of {', '.join(self.choices)}"
        return None if good else f"{self.name} must be {wanted}"


def _matches(pattern: re.Pattern[str], value: ConfigValue) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _integer(name: str, low: int, high: int, meaning: str) -> ConfigKey:
    return ConfigKey(name=name, kind=ValueKind.INTEGER, low=low, high=high, meaning=meaning)


def _flag(name: str, meaning: str) -> ConfigKey:
    return ConfigKey(name=name, kind=ValueKind.BOOLEAN, meaning=meaning)


def _clock(name: str, meaning: str) -> ConfigKey:
    return ConfigKey(name=name, kind=ValueKind.CLOCK, meaning=meaning)


_ALL: Final = (
    _integer("volume_pct", 0, 100, "loudness of sounds"),
    _integer("night_volume_pct", 0, 100, "the same while `night_mode` holds"),
    ConfigKey(name="language", kind=ValueKind.LANGUAGE, meaning="of screen and voice"),
    _integer("screen_brightness_pct", 0, 100, "brightness of the screen"),
    _integer("led_brightness_pct", 0, 100, "brightness of the slots' lights"),
    _flag("night_mode", "quieter and darker from `night_from` to `night_to`"),
    _clock("night_from", "when the night begins"),
    _clock("night_to", "when it ends; before `night_from`: on the next day"),
    _clock("reboot_at", "restart once a day at this time when no eject is under way; null: never"),
    _integer("charge_limit_pct", 50, 100, "banks are charged up to this"),
    _integer("charge_current_ma", 100, 5000, "largest charging current per bank"),
    _integer("charge_budget_w", 5, 2000, "largest power that all slots draw together"),
    _integer("over_temperature_c", 40, 80, "a bank this hot is no longer charged, and `slot_fault` tells"),
    _integer("cabinet_over_temperature_c", 40, 90, "at this inside temperature `station_fault` tells"),
    _integer("eject_limit_ms", 1000, 10_000, "how long a bank may take to leave its slot (9.2.3)"),
    _integer("relock_after_ms", 1000, 120_000, "a bank that nobody takes is locked again after this (9.3.1)"),
    _flag("anti_theft", "sound the alarm when a bank leaves with no command"),
    ConfigKey(
        name="log_level",
        kind=ValueKind.CHOICE,
        choices=("error", "warning", "info", "debug"),
        meaning="what is written to the log that `collect_logs` returns",
    ),
    _integer("log_kib", 16, 16_384, "how much of the log is kept"),
    ConfigKey(name="support_phone", kind=ValueKind.TEXT, low=0, high=32, meaning="shown on the screen"),
    ConfigKey(name="welcome_text", kind=ValueKind.TEXT, low=0, high=200, meaning="shown on the screen"),
)
KEYS: Final[dict[str, ConfigKey]] = {key.name: key for key in _ALL}


def fault_of(name: str, value: ConfigValue) -> str | None:
    """What is wrong with this key and value, in one sentence for people; None when both are allowed."""
    if not _NAME.fullmatch(name):
        return f"{name[:64]!r} is not a key: small letters, digits and _, at most 64"
    known = KEYS.get(name)
    if known is not None:
        return known.fault(value)
    if not name.startswith(OWN_PREFIX):
        return f"there is no key {name}; keys of a maker's own begin with {OWN_PREFIX}"
    if isinstance(value, str) and len(value) > _MAX_TEXT:
        return f"{name} must have at most {_MAX_TEXT} characters"
    return None
