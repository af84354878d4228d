"""Whole Volinks frames: bytes to `frames` and back. Raises only ProtocolError, in time and memory bounded by 64 KiB."""

import struct
from collections.abc import Callable, Sequence
from typing import Final

from firmware_protocol.dialects.volinks import board_codec, envelope
from firmware_protocol.dialects.volinks.boards import Inventory
from firmware_protocol.dialects.volinks.codes import NAMED_ONLY
from firmware_protocol.dialects.volinks.frames import (
    Heartbeat,
    NamedFrame,
    PopByHoleResult,
    PopBySerialResult,
    ReturnResult,
    SelfTestReturn,
    UpFrame,
    WifiScan,
)
from firmware_protocol.dialects.volinks.limits import MIN_FRAME_BYTES
from firmware_protocol.errors import FrameTruncated, InvalidField, LengthMismatch, UnknownMessageType, quote

INVENTORY: Final = 0x10
POP_BY_HOLE: Final = 0x21
SELF_TEST_RETURN: Final = 0x28
POP_BY_SERIAL: Final = 0x31
RETURN: Final = 0x40
HEARTBEAT: Final = 0x7A
WIFI_SCAN: Final = 0xCF

_POP_BY_HOLE: Final = struct.Struct(">4B")
_POP_BY_SERIAL: Final = struct.Struct(">BI2B")
_RETURN: Final = struct.Struct(">3BIB")
_SELF_TEST: Final = struct.Struct(">6BI6B")

#: Bytes of a 0x40 after its state: none, version, version and charge.
_RETURN_TAILS: Final = (0, 1, 2)


def decode_up(payload: bytes, *, tolerate_checksum: bool = False, layout: Sequence[int] | None = None) -> UpFrame:
    """What a cabinet published on `…/user/update` or `…/user/heart`, or uploaded over HTTP.

    `layout`: holes per board as commissioned, which an inventory must then have; without it the holes are inferred.
    Raises ProtocolError only; UnknownMessageType for a command that nobody has named.
    """
    command, data = envelope.read(payload, tolerate_checksum=tolerate_checksum)
    if command == INVENTORY:
        return board_codec.decode(data, layout)
    decoder = _DECODERS.get(command)
    if decoder is not None:
        return decoder(data)
    if command in NAMED_ONLY:
        return NamedFrame(command=command, data=data)
    raise UnknownMessageType(f"expected a known command, got 0x{command:02X} in {quote(payload)}")


def encode_up(frame: UpFrame) -> bytes:
    """The bytes of a frame; InvalidField for a value that does not fit its field."""
    try:
        return envelope.write(*_encoded(frame))
    except struct.error as error:
        raise InvalidField(f"{type(frame).__name__}: {error}") from None


def _fixed(layout: struct.Struct, data: bytes, name: str) -> tuple[tuple[int, ...], bytes]:
    """The fields of a fixed layout and what comes after it: the guide itself shows padded frames."""
    if len(data) < layout.size:
        whole = MIN_FRAME_BYTES + layout.size
        raise FrameTruncated(f"{name}: expected {whole} bytes, got {MIN_FRAME_BYTES + len(data)}: data {quote(data)}")
    return layout.unpack_from(data), data[layout.size :]


def _pop_by_hole(data: bytes) -> PopByHoleResult:
    (board, hole, state, solenoid), extra = _fixed(_POP_BY_HOLE, data, "0x21 pop result")
    return PopByHoleResult(board=board, hole=hole, state=state, solenoid=solenoid, extra=extra)


def _pop_by_serial(data: bytes) -> PopBySerialResult:
    (byte4, sn, state, byte10), extra = _fixed(_POP_BY_SERIAL, data, "0x31 pop result")
    return PopBySerialResult(byte4=byte4, sn=sn, state=state, byte10=byte10, extra=extra)


def _return(data: bytes) -> ReturnResult:
    (board, hole, area, sn, state), tail = _fixed(_RETURN, data, "0x40 return")
    if len(tail) not in _RETURN_TAILS:
        raise LengthMismatch(f"0x40 return: expected 13 to 15 bytes, got {MIN_FRAME_BYTES + len(data)}: {quote(data)}")
    return ReturnResult(
        board=board,
        hole=hole,
        area=area,
        sn=sn,
        state=state,
        soft=tail[0] if tail else None,
        soc_raw=tail[1] if len(tail) > 1 else None,
    )


def _self_test_return(data: bytes) -> SelfTestReturn:
    fields, extra = _fixed(_SELF_TEST, data, "0x28 self-test return")
    board, hole, state, byte7, byte8, area, sn, soc, temp, volt, amp, soft, byte19 = fields
    return SelfTestReturn(
        board=board,
        hole=hole,
        state=state,
        byte7=byte7,
        byte8=byte8,
        area=area,
        sn=sn,
        soc_raw=soc,
        temp_raw=temp,
        charge_v_raw=volt,
        charge_a_raw=amp,
        soft=soft,
        byte19=byte19,
        extra=extra,
    )


def _heartbeat(data: bytes) -> Heartbeat:
    if not data:
        raise FrameTruncated("0x7A heartbeat: expected a board byte, got none")
    return Heartbeat(board=data[0], data=data[1:])


def _wifi_scan(data: bytes) -> WifiScan:
    return WifiScan(data=data)


_DECODERS: Final[dict[int, Callable[[bytes], UpFrame]]] = {
    POP_BY_HOLE: _pop_by_hole,
    POP_BY_SERIAL: _pop_by_serial,
    RETURN: _return,
    SELF_TEST_RETURN: _self_test_return,
    HEARTBEAT: _heartbeat,
    WIFI_SCAN: _wifi_scan,
}


def _encoded(frame: UpFrame) -> tuple[int, bytes]:  # noqa: PLR0911  # a flat table of frames
    match frame:
        case Inventory():
            return INVENTORY, board_codec.encode(frame)
        case PopByHoleResult():
            return POP_BY_HOLE, _POP_BY_HOLE.pack(frame.board, frame.hole, frame.state, frame.solenoid) + frame.extra
        case PopBySerialResult():
            return POP_BY_SERIAL, _POP_BY_SERIAL.pack(frame.byte4, frame.sn, frame.state, frame.byte10) + frame.extra
        case ReturnResult():
            return RETURN, _return_bytes(frame)
        case SelfTestReturn():
            return SELF_TEST_RETURN, _self_test_bytes(frame)
        case Heartbeat():
            return HEARTBEAT, struct.pack(">B", frame.board) + frame.data
        case WifiScan():
            return WIFI_SCAN, frame.data
        case NamedFrame():
            return frame.command, frame.data


def _return_bytes(frame: ReturnResult) -> bytes:
    if frame.soft is None and frame.soc_raw is not None:
        raise InvalidField("ReturnResult: expected a version beside a charge, got none")
    tail = [value for value in (frame.soft, frame.soc_raw) if value is not None]
    head = _RETURN.pack(frame.board, frame.hole, frame.area, frame.sn, frame.state)
    return head + struct.pack(f">{len(tail)}B", *tail)


def _self_test_bytes(frame: SelfTestReturn) -> bytes:
    fields = _SELF_TEST.pack(
        frame.board,
        frame.hole,
        frame.state,
        frame.byte7,
        frame.byte8,
        frame.area,
        frame.sn,
        frame.soc_raw,
        frame.temp_raw,
        frame.charge_v_raw,
        frame.charge_a_raw,
        frame.soft,
        frame.byte19,
    )
    return fields + frame.extra
