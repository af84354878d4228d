"""Bytes of a bank that several frames have, and what they mean: None when unknown."""

from typing import Final

from msgspec import Struct

from firmware_protocol.dialects.volinks.limits import NO_SERIAL

_FULL: Final = 100
_NO_SENSOR: Final = frozenset({0x00, 0xFF})
_UNKNOWN: Final = 0xFF


def percent(raw: int | None) -> int | None:
    """State of charge in %; a byte above 100 is unknown, not full and not zero."""
    return raw if raw is not None and raw <= _FULL else None


def celsius(raw: int) -> int | None:
    """°C; 00 means no sensor, FF unread."""
    return None if raw in _NO_SENSOR else raw


def tenths(raw: int) -> float | None:
    """V or A from a byte in tenths; FF unread."""
    return None if raw == _UNKNOWN else raw / 10


def serial_number(raw: int) -> int | None:
    """0 and FFFFFFFF stand for no bank, or one that nobody can read."""
    return None if raw in {0, NO_SERIAL} else raw


class BankBytes(Struct, frozen=True, kw_only=True, gc=False):
    """What inventories and self-test reports say of a bank in the same words."""

    area: int = 0
    sn: int = 0
    soc_raw: int = 0
    temp_raw: int = 0
    charge_v_raw: int = 0
    charge_a_raw: int = 0
    soft: int = 0

    @property
    def serial(self) -> int | None:
        return serial_number(self.sn)

    @property
    def soc(self) -> int | None:
        """%"""
        return percent(self.soc_raw)

    @property
    def temp_c(self) -> int | None:
        return celsius(self.temp_raw)

    @property
    def charge_v(self) -> float | None:
        return tenths(self.charge_v_raw)

    @property
    def charge_a(self) -> float | None:
        return tenths(self.charge_a_raw)
