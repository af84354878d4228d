"""Payloads of what cabinets say, by generation and command, both ways."""

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from firmware_protocol.dialects.relink import tables, up
from firmware_protocol.dialects.relink.codes import Command, Generation
from firmware_protocol.dialects.relink.fields import Reader, bank_raw, text_bytes
from firmware_protocol.dialects.relink.limits import COARSE_RECORD_BYTES, MAGIC_1, MAGIC_2, RECORD_BYTES
from firmware_protocol.dialects.relink.records import (
    packed,
    read_bank,
    read_coarse,
    write_bank,
    write_coarse,
)
from firmware_protocol.errors import (
    LengthMismatch,
    UnsupportedVersion,
)

_U8: Final = struct.Struct(">B")
_U16: Final = struct.Struct(">H")
_LOGIN: Final = struct.Struct(">IH")
_LOGIN_2: Final = struct.Struct(">IBB")
_THREE: Final = struct.Struct(">3B")
#: A borrow's reply of the second generation ends with two or three lock bytes; the known server reads two.
_LOCK_BYTES: Final = frozenset({2, 3})

Decoder = Callable[[Reader, Command], up.UpMessage]


def decode(command: int, payload: bytes, generation: Generation) -> up.UpMessage:
    """The message of a payload; a reply without a known layout is `Opaque`. Raises ProtocolError only."""
    return tables.read(_DECODERS, "from the cabinet", command, payload, generation)


def encode(message: up.UpMessage, generation: Generation) -> tuple[Command, bytes]:
    """Command and payload; InvalidField for what this generation cannot say or a value that does not fit."""
    return tables.written(_DECODERS, message, _ENCODERS[type(message)](message), generation)


def _login_1(reader: Reader, _command: Command) -> up.Login1:
    nonce, magic = reader.unpack(_LOGIN, "nonce and magic")
    _expect_magic(magic, MAGIC_1)
    box_id = reader.text("the box id")
    # The second text is optional, and what follows has no description: a login is never refused for its end.
    reg_data = None
    rest = reader.rest()
    if len(rest) >= _U16.size and len(rest) >= _U16.size + _U16.unpack_from(rest)[0]:
        tail = Reader("0x60 from the cabinet", rest)
        reg_data, rest = tail.text("the registration data"), tail.rest()
    return up.Login1(nonce=nonce, box_id=box_id, reg_data=reg_data, extra=rest)


def _login_2(reader: Reader, _command: Command) -> up.Login2:
    nonce, magic = reader.unpack(_LOGIN, "nonce and magic")
    _expect_magic(magic, MAGIC_2)
    box_id = reader.text("the box id")
    timestamp, slots_num, remain = reader.unpack(_LOGIN_2, "timestamp and counts")
    banks = tuple(map(read_bank, reader.records(RECORD_BYTES)))
    return up.Login2(nonce=nonce, box_id=box_id, timestamp=timestamp, slots_num=slots_num, remain=remain, banks=banks)


def _expect_magic(magic: int, expected: int) -> None:
    if magic != expected:
        raise UnsupportedVersion(f"magic: expected 0x{expected:04X}, got 0x{magic:04X}")


def _inventory_1(reader: Reader, _command: Command) -> up.Inventory1:
    remain = reader.u8("the number of banks")
    return up.Inventory1(remain=remain, banks=tuple(map(read_coarse, reader.records(COARSE_RECORD_BYTES))))


def _inventory_2(reader: Reader, _command: Command) -> up.Inventory2:
    slots_num, remain = reader.u8("the number of slots"), reader.u8("the number of banks")
    return up.Inventory2(slots_num=slots_num, remain=remain, banks=tuple(map(read_bank, reader.records(RECORD_BYTES))))


def _borrow_1(reader: Reader, _command: Command) -> up.BorrowResult:
    return up.BorrowResult(slot=reader.u8("slot"), result=reader.u8("result"), bank=reader.bank())


def _borrow_2(reader: Reader, _command: Command) -> up.BorrowResult:
    slot, result, bank = reader.u8("slot"), reader.u8("result"), reader.bank()
    if reader.left not in _LOCK_BYTES:
        raise LengthMismatch(f"0x65 from the cabinet: expected a payload of 12 or 13 bytes, got {10 + reader.left}")
    return up.BorrowResult(slot=slot, result=result, bank=bank, locks=reader.rest())


def _eject(reader: Reader, _command: Command) -> up.EjectResult:
    return up.EjectResult(slot=reader.u8("slot"), result=reader.u8("result"), bank=reader.bank())


def _return_1(reader: Reader, _command: Command) -> up.Return1:
    return up.Return1(slot=reader.u8("slot"), bank=reader.bank())


def _return_2(reader: Reader, _command: Command) -> up.Return2:
    return up.Return2(read_bank(reader.take(RECORD_BYTES, "the bank")))


def _server(reader: Reader, _command: Command) -> up.Server:
    return up.Server(
        address=reader.text("the address"), port=reader.text("the port"), heartbeat_s=reader.u8("the heartbeat")
    )


def _volume_set_1(_reader: Reader, _command: Command) -> up.VolumeSet:
    return up.VolumeSet()


def _volume_set_2(reader: Reader, _command: Command) -> up.VolumeSet:
    return up.VolumeSet(reader.u8("result") if reader.left else None)


def _network(reader: Reader, command: Command) -> up.Network:
    csq, error_rate, mode = reader.unpack(_THREE, "signal, error rate and mode")
    return up.Network(csq=csq, error_rate=error_rate, mode=mode, command=command)


def _apn(reader: Reader, _command: Command) -> up.Apn:
    index, valid = reader.u8("index"), reader.u8("valid")
    return up.Apn(index=index, valid=valid, mccmnc=reader.text("MCC and MNC"), apn=reader.text("the APN"))


def _abnormal(reader: Reader, _command: Command) -> up.Abnormal:
    return up.Abnormal(event=reader.u8("event"), slot=reader.u8("slot"), bank=reader.bank())


def _done(_reader: Reader, command: Command) -> up.Done:
    return up.Done(command)


def _opaque(reader: Reader, command: Command) -> up.Opaque:
    return up.Opaque(command=command, payload=reader.rest())


_COMMON: Final[dict[int, Decoder]] = {
    Command.HEARTBEAT: lambda _reader, _command: up.Heartbeat(),
    Command.VERSION: lambda reader, _command: up.Version(reader.text("the version")),
    Command.SET_SERVER: _done,
    Command.RESTART: _done,
    Command.ICCID: lambda reader, _command: up.Iccid(reader.text("the ICCID")),
    Command.SERVER: _server,
    Command.VOLUME: lambda reader, _command: up.Volume(reader.u8("level")),
    Command.EJECT: _eject,
}
_DECODERS: Final[Mapping[Generation, Mapping[int, Decoder]]] = MappingProxyType(
    {
        Generation.ONE: _COMMON
        | {
            Command.LOGIN: _login_1,
            Command.INVENTORY: _inventory_1,
            Command.BORROW: _borrow_1,
            Command.RETURN: _return_1,
            Command.SET_VOLUME: _volume_set_1,
            Command.UPGRADE: _opaque,
            Command.STOCK: _opaque,
            Command.NETWORK: _network,
            Command.NETWORK_EARLY: _network,
            Command.SET_APN: lambda reader, _command: up.ApnSet(reader.u8("result")),
            Command.APN: _apn,
        },
        Generation.TWO: _COMMON
        | {
            Command.LOGIN: _login_2,
            Command.INVENTORY: _inventory_2,
            Command.BORROW: _borrow_2,
            Command.RETURN: _return_2,
            Command.SET_VOLUME: _volume_set_2,
            Command.ABNORMAL: _abnormal,
        },
    }
)


def _encode_login_1(message: up.Login1) -> tuple[Command, bytes]:
    reg_data = b"" if message.reg_data is None else text_bytes(message.reg_data)
    head = packed(_LOGIN, message.nonce, MAGIC_1)
    return Command.LOGIN, head + text_bytes(message.box_id) + reg_data + message.extra


def _encode_login_2(message: up.Login2) -> tuple[Command, bytes]:
    head = packed(_LOGIN, message.nonce, MAGIC_2) + text_bytes(message.box_id)
    counts = packed(_LOGIN_2, message.timestamp, message.slots_num, message.remain)
    return Command.LOGIN, head + counts + b"".join(map(write_bank, message.banks))


def _encode_inventory_1(message: up.Inventory1) -> tuple[Command, bytes]:
    return Command.INVENTORY, packed(_U8, message.remain) + b"".join(map(write_coarse, message.banks))


def _encode_inventory_2(message: up.Inventory2) -> tuple[Command, bytes]:
    counts = packed(_U8, message.slots_num) + packed(_U8, message.remain)
    return Command.INVENTORY, counts + b"".join(map(write_bank, message.banks))


def _encode_borrow(message: up.BorrowResult) -> tuple[Command, bytes]:
    return Command.BORROW, _result(message) + message.locks


def _result(message: up.BorrowResult | up.EjectResult) -> bytes:
    return packed(_U8, message.slot) + packed(_U8, message.result) + bank_raw(message.bank)


def _encode_server(message: up.Server) -> tuple[Command, bytes]:
    return Command.SERVER, text_bytes(message.address) + text_bytes(message.port) + packed(_U8, message.heartbeat_s)


def _encode_volume_set(message: up.VolumeSet) -> tuple[Command, bytes]:
    return Command.SET_VOLUME, b"" if message.result is None else packed(_U8, message.result)


def _encode_network(message: up.Network) -> tuple[Command, bytes]:
    return message.command, packed(_THREE, message.csq, message.error_rate, message.mode)


def _encode_apn(message: up.Apn) -> tuple[Command, bytes]:
    head = packed(_U8, message.index) + packed(_U8, message.valid)
    return Command.APN, head + text_bytes(message.mccmnc) + text_bytes(message.apn)


def _encode_abnormal(message: up.Abnormal) -> tuple[Command, bytes]:
    return Command.ABNORMAL, packed(_U8, message.event) + packed(_U8, message.slot) + bank_raw(message.bank)


_ENCODERS: Final[Mapping[type, Callable[..., tuple[Command, bytes]]]] = MappingProxyType(
    {
        up.Login1: _encode_login_1,
        up.Login2: _encode_login_2,
        up.Heartbeat: lambda _message: (Command.HEARTBEAT, b""),
        up.Version: lambda message: (Command.VERSION, text_bytes(message.text)),
        up.Inventory1: _encode_inventory_1,
        up.Inventory2: _encode_inventory_2,
        up.BorrowResult: _encode_borrow,
        up.EjectResult: lambda message: (Command.EJECT, _result(message)),
        up.Return1: lambda message: (Command.RETURN, packed(_U8, message.slot) + bank_raw(message.bank)),
        up.Return2: lambda message: (Command.RETURN, write_bank(message.bank)),
        up.Iccid: lambda message: (Command.ICCID, text_bytes(message.text)),
        up.Server: _encode_server,
        up.VolumeSet: _encode_volume_set,
        up.Volume: lambda message: (Command.VOLUME, packed(_U8, message.level)),
        up.Network: _encode_network,
        up.ApnSet: lambda message: (Command.SET_APN, packed(_U8, message.result)),
        up.Apn: _encode_apn,
        up.Abnormal: _encode_abnormal,
        up.Done: lambda message: (message.command, b""),
        up.Opaque: lambda message: (message.command, message.payload),
    }
)
