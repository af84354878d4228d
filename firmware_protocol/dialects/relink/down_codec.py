"""Payloads of what the backend says, by generation and command, both ways."""

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from firmware_protocol.dialects.relink import down, tables
from firmware_protocol.dialects.relink.codes import Command, Generation
from firmware_protocol.dialects.relink.fields import Reader, text_bytes
from firmware_protocol.dialects.relink.limits import MAX_VOLUME, RECORD_BYTES
from firmware_protocol.dialects.relink.records import packed, read_bank_after, write_bank_after
from firmware_protocol.errors import InvalidField

_U8: Final = struct.Struct(">B")
_LOGIN_REPLY: Final = struct.Struct(">BII")
#: First index of `SetApn` and `AskApn` is 0.
_MAX_APN: Final = 4

Decoder = Callable[[Reader, Command], down.DownMessage]


def decode(command: int, payload: bytes, generation: Generation) -> down.DownMessage:
    """The message of a payload. Raises ProtocolError only; UnknownMessageType for what this generation has not."""
    return tables.read(_DECODERS, "to the cabinet", command, payload, generation)


def encode(message: down.DownMessage, generation: Generation) -> tuple[Command, bytes]:
    """Command and payload; InvalidField for what this generation cannot be told or a value that does not fit."""
    return tables.written(_DECODERS, message, _ENCODERS[type(message)](message), generation)


def _ask(_reader: Reader, command: Command) -> down.Ask:
    return down.Ask(command)


def _login_2(reader: Reader, _command: Command) -> down.LoginReply2:
    result, nonce, timestamp = reader.unpack(_LOGIN_REPLY, "result, nonce and timestamp")
    return down.LoginReply2(result=result, nonce=nonce, timestamp=timestamp)


def _return_1(reader: Reader, _command: Command) -> down.ReturnReply1:
    return down.ReturnReply1(slot=reader.u8("slot"), result=reader.u8("result"))


def _return_2(reader: Reader, _command: Command) -> down.ReturnReply2:
    slot, result = reader.u8("slot"), reader.u8("result")
    bank = read_bank_after(slot, reader.take(RECORD_BYTES - 1, "the bank"))
    return down.ReturnReply2(result=result, bank=bank)


def _set_server(reader: Reader, _command: Command) -> down.SetServer:
    return down.SetServer(
        address=reader.text("the address"), port=reader.text("the port"), heartbeat_s=reader.u8("the heartbeat")
    )


def _set_volume(reader: Reader, _command: Command) -> down.SetVolume:
    return down.SetVolume(_bounded("level", reader.u8("level"), MAX_VOLUME))


def _set_apn(reader: Reader, _command: Command) -> down.SetApn:
    index, valid = _bounded("index", reader.u8("index"), _MAX_APN), reader.u8("valid")
    return down.SetApn(
        index=index,
        valid=valid,
        mccmnc=reader.text("MCC and MNC"),
        apn=reader.text("the APN"),
        user=reader.text("the user"),
        password=reader.text("the password"),
    )


def _bounded(name: str, value: int, most: int) -> int:
    if value > most:
        raise InvalidField(f"{name}: expected 0 to {most}, got {value}")
    return value


_COMMON: Final[dict[int, Decoder]] = {
    **dict.fromkeys(
        (
            Command.HEARTBEAT,
            Command.VERSION,
            Command.INVENTORY,
            Command.RESTART,
            Command.ICCID,
            Command.SERVER,
            Command.VOLUME,
        ),
        _ask,
    ),
    Command.BORROW: lambda reader, _command: down.Borrow(reader.u8("slot")),
    Command.EJECT: lambda reader, _command: down.Eject(reader.u8("slot")),
    Command.SET_SERVER: _set_server,
    Command.SET_VOLUME: _set_volume,
}
_DECODERS: Final[Mapping[Generation, Mapping[int, Decoder]]] = MappingProxyType(
    {
        Generation.ONE: _COMMON
        | {
            Command.LOGIN: lambda reader, _command: down.LoginReply1(reader.u8("result")),
            Command.RETURN: _return_1,
            Command.STOCK: _ask,
            Command.NETWORK: _ask,
            Command.NETWORK_EARLY: _ask,
            Command.SET_APN: _set_apn,
            Command.APN: lambda reader, _command: down.AskApn(_bounded("index", reader.u8("index"), _MAX_APN)),
        },
        Generation.TWO: _COMMON | {Command.LOGIN: _login_2, Command.RETURN: _return_2, Command.ABNORMAL: _ask},
    }
)


def _encode_login_2(message: down.LoginReply2) -> tuple[Command, bytes]:
    return Command.LOGIN, packed(_LOGIN_REPLY, message.result, message.nonce, message.timestamp)


def _encode_return_2(message: down.ReturnReply2) -> tuple[Command, bytes]:
    head = packed(_U8, message.bank.slot) + packed(_U8, message.result)
    return Command.RETURN, head + write_bank_after(message.bank)


def _encode_set_server(message: down.SetServer) -> tuple[Command, bytes]:
    texts = text_bytes(message.address) + text_bytes(message.port)
    return Command.SET_SERVER, texts + packed(_U8, message.heartbeat_s)


def _encode_set_apn(message: down.SetApn) -> tuple[Command, bytes]:
    texts = (message.mccmnc, message.apn, message.user, message.password)
    head = packed(_U8, message.index) + packed(_U8, message.valid)
    return Command.SET_APN, head + b"".join(map(text_bytes, texts))


_ENCODERS: Final[Mapping[type, Callable[..., tuple[Command, bytes]]]] = MappingProxyType(
    {
        down.LoginReply1: lambda message: (Command.LOGIN, packed(_U8, message.result)),
        down.LoginReply2: _encode_login_2,
        down.ReturnReply1: lambda m: (Command.RETURN, packed(_U8, m.slot) + packed(_U8, m.result)),
        down.ReturnReply2: _encode_return_2,
        down.Ask: lambda message: (message.command, b""),
        down.Borrow: lambda message: (Command.BORROW, packed(_U8, message.slot)),
        down.Eject: lambda message: (Command.EJECT, packed(_U8, message.slot)),
        down.SetServer: _encode_set_server,
        down.SetVolume: lambda message: (Command.SET_VOLUME, packed(_U8, message.level)),
        down.SetApn: _encode_set_apn,
        down.AskApn: lambda message: (Command.APN, packed(_U8, message.index)),
    }
)
