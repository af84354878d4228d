"""What a Relink cabinet says about the bank in one slot."""

import struct
from typing import Final

from msgspec import Struct

from firmware_protocol.dialects.relink.fields import bank_raw, bank_text
from firmware_protocol.dialects.relink.limits import MIN_RENTABLE_MV
from firmware_protocol.errors import InvalidField

_COARSE: Final = struct.Struct(">B8sB")
_RECORD: Final = struct.Struct(">B8sBHHbBB")
_VALUES: Final = struct.Struct(">BHHbBB")
_FULL: Final = 100


class CoarseBank(Struct, frozen=True, kw_only=True):
    """First generation. `level` is a step of an unknown scale, never a percentage; below 4 nobody rents it out."""

    slot: int
    bank: str | None
    level: int


class Status(Struct, frozen=True):
    """Status bits as the current firmware sets them."""

    raw: int

    @property
    def inserted(self) -> bool:
        """Clear in the frame that reports a return: the switch closes later, and an inventory confirms it."""
        return bool(self.raw & 0x80)

    @property
    def locked(self) -> bool:
        return bool(self.raw & 0x40)

    @property
    def bank_error(self) -> bool:
        return bool(self.raw & 0x20)

    @property
    def charging_switch(self) -> bool:
        return bool(self.raw & 0x10)

    @property
    def charging(self) -> bool:
        return bool(self.raw & 0x08)

    @property
    def type_c_error(self) -> bool:
        return bool(self.raw & 0x04)

    @property
    def lightning_error(self) -> bool:
        return bool(self.raw & 0x02)

    @property
    def micro_usb_error(self) -> bool:
        return bool(self.raw & 0x01)

    @property
    def connector_error(self) -> bool:
        """Sources disagree which bit is which connector; any of them is one."""
        return bool(self.raw & 0x07)


class Bank(Struct, frozen=True, kw_only=True):
    """Second generation: 17 bytes. Fields are raw; `level` and `health` are None when the byte makes no sense."""

    slot: int
    bank: str | None
    level_raw: int
    mv: int
    ma: int
    temp_c: int
    status_raw: int
    soh: int

    @property
    def level(self) -> int | None:
        """State of charge in %."""
        return self.level_raw if self.level_raw <= _FULL else None

    @property
    def health(self) -> int | None:
        """State of health in %."""
        return self.soh if self.soh <= _FULL else None

    @property
    def status(self) -> Status:
        return Status(self.status_raw)

    @property
    def dead(self) -> bool:
        """Bank or connector error, no charge, or a voltage that no living cell has: not to be rented out."""
        status = self.status
        return status.bank_error or status.connector_error or self.level_raw == 0 or self.mv < MIN_RENTABLE_MV


def read_coarse(raw: bytes) -> CoarseBank:
    slot, bank, level = _COARSE.unpack(raw)
    return CoarseBank(slot=slot, bank=bank_text(bank), level=level)


def write_coarse(bank: CoarseBank) -> bytes:
    return packed(_COARSE, bank.slot, bank_raw(bank.bank), bank.level)


def read_bank(raw: bytes) -> Bank:
    slot, bank, *values = _RECORD.unpack(raw)
    return _bank(slot, bank, values)


def read_bank_after(slot: int, raw: bytes) -> Bank:
    """A record whose slot came before something else."""
    return _bank(slot, raw[:8], list(_VALUES.unpack(raw[8:])))


def write_bank(bank: Bank) -> bytes:
    return packed(_RECORD, bank.slot, bank_raw(bank.bank), *_values(bank))


def write_bank_after(bank: Bank) -> bytes:
    """The record without its slot."""
    return bank_raw(bank.bank) + packed(_VALUES, *_values(bank))


def packed(layout: struct.Struct, *values: int | bytes) -> bytes:
    """`layout` filled in; InvalidField for a value that does not fit."""
    try:
        return layout.pack(*values)
    except struct.error as error:
        raise InvalidField(f"expected values that fit {layout.format}: {error}") from None


def _bank(slot: int, bank: bytes, values: list[int]) -> Bank:
    level, mv, ma, temp_c, status, soh = values
    return Bank(
        slot=slot, bank=bank_text(bank), level_raw=level, mv=mv, ma=ma, temp_c=temp_c, status_raw=status, soh=soh
    )


def _values(bank: Bank) -> tuple[int, ...]:
    return bank.level_raw, bank.mv, bank.ma, bank.temp_c, bank.status_raw, bank.soh
