"""A Volinks frame as JSON values for people's tools, under field names that stay (those of the golden vectors)."""

from typing import Any, Final

from firmware_protocol.dialects.volinks import codec, envelope
from firmware_protocol.dialects.volinks.boards import Board, Hole, Inventory
from firmware_protocol.dialects.volinks.commands import decode_down, to_wire
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
from firmware_protocol.dialects.volinks.limits import HEAD
from firmware_protocol.dialects.volinks.signature import sign, sign_base
from firmware_protocol.errors import FrameTruncated, MalformedFrame, UnknownLayout, quote

#: From this many holes on, a whole inventory no longer fits a screen: boards, and the holes that are occupied.
COMPACT_HOLES: Final = 100
#: What a cabinet signs is a few query parameters.
_MAX_SIGNED_BYTES: Final = 4096


def describe(payload: bytes, *, tolerate_checksum: bool = False, full: bool = False) -> dict[str, Any]:
    """One payload of either direction, or the text that a cabinet signs, told apart by its first byte.

    `full`: every hole of a large inventory. Raises only ProtocolError.
    """
    first = payload[:1]
    if first == b"{":
        return dict(to_wire(decode_down(payload)))
    if first and first[0] != HEAD and b"=" in payload:
        return _signed(payload)
    if not payload:
        raise FrameTruncated("expected a frame, got an empty payload")
    frame = codec.decode_up(payload, tolerate_checksum=tolerate_checksum)
    head = {
        "cmd": f"0x{payload[3]:02X}",
        "length": len(payload),
        "length_ok": True,
        "checksum_ok": envelope.checksum_ok(payload),
    }
    return head | _body(frame, full=full)


def _body(frame: UpFrame, *, full: bool) -> dict[str, Any]:  # noqa: PLR0911  # a flat table of frames
    match frame:
        case Inventory():
            compact = not full and len(frame.holes) >= COMPACT_HOLES
            return {"layout": frame.layout} | (_compact(frame) if compact else {"boards": _boards(frame)})
        case PopByHoleResult():
            return {
                "board": frame.board,
                "hole": frame.hole,
                "state": frame.state,
                "outcome": str(frame.outcome),
                "solenoid": frame.solenoid,
            }
        case PopBySerialResult():
            return {
                "byte4": frame.byte4,
                "sn": frame.sn,
                "state": frame.state,
                "outcome": str(frame.outcome),
                "revision": str(frame.revision),
                "byte10": frame.byte10,
            }
        case ReturnResult():
            return _return(frame)
        case SelfTestReturn():
            return _self_test(frame)
        case Heartbeat():
            return {"board": frame.board, "text": frame.text, "csq": frame.csq, "bp": frame.bp}
        case WifiScan():
            return {"text": frame.text, "ssids": list(frame.ssids)}
        case NamedFrame():
            raise UnknownLayout(
                f"0x{frame.command:02X} is known by name only ({frame.name}): expected a described command, "
                f"got {quote(frame.data)}"
            )


def _header(board: Board) -> dict[str, Any]:
    return {
        "address": board.address,
        "reserved1": board.reserved1,
        "reserved2": board.reserved2,
        "temp_raw": board.temp_raw,
        "soft": board.soft,
        "hard": board.hard,
    }


def _boards(frame: Inventory) -> list[dict[str, Any]]:
    return [_header(board) | {"io": board.io, "holes": [_hole(hole) for hole in board.holes]} for board in frame.boards]


def _compact(frame: Inventory) -> dict[str, Any]:
    boards = [
        _header(board)
        | {"n_holes": len(board.holes), "first_hole": board.holes[0].hole, "last_hole": board.holes[-1].hole}
        for board in frame.boards
    ]
    return {
        "boards": boards,
        "occupied": [_hole(hole) for hole in frame.holes if hole.occupied],
        "total_holes": len(frame.holes),
        "form": "compact",
    }


def _hole(hole: Hole) -> dict[str, Any]:
    millivolts = hole.battery_mv
    return {
        "hole": hole.hole,
        "state": hole.state,
        "current_raw": hole.current_raw,
        "battery_raw": hole.battery_raw,
        "battery_v": None if millivolts is None else millivolts / 1000,
        "area": hole.area,
        "sn": hole.sn,
        "soc_raw": hole.soc_raw,
        "soc": hole.soc,
        "temp_raw": hole.temp_raw,
        "temp_c": hole.temp_c,
        "charge_v": hole.charge_v,
        "charge_a": hole.charge_a,
        "soft": hole.soft,
        "sensor_raw": hole.sensor_raw,
        "micro_switch_open": hole.micro_switch_open,
        "solenoid_open": hole.solenoid_open,
        "occupied": hole.occupied,
        "rentable": hole.rentable,
    }


def _return(frame: ReturnResult) -> dict[str, Any]:
    return {
        "board": frame.board,
        "hole": frame.hole,
        "area": frame.area,
        "sn": frame.sn,
        "state": frame.state,
        "returned": frame.returned,
        "soft": frame.soft,
        "soc": frame.soc,
        "variant": frame.variant,
    }


def _self_test(frame: SelfTestReturn) -> dict[str, Any]:
    return {
        "board": frame.board,
        "hole": frame.hole,
        "state": frame.state,
        "returned": frame.returned,
        "area": frame.area,
        "sn": frame.sn,
        "soc": frame.soc,
        "temp_c": frame.temp_c,
        "charge_v": frame.charge_v,
        "charge_a": frame.charge_a,
        "soft": frame.soft,
        "byte19": frame.byte19,
        "byte7": frame.byte7,
        "byte8": frame.byte8,
    }


def _signed(payload: bytes) -> dict[str, Any]:
    """`key=value|key=value`, as a cabinet signs it."""
    try:
        text = payload[:_MAX_SIGNED_BYTES].decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedFrame(f"expected a frame, a command or signed parameters, got {quote(payload)}") from None
    pairs = [item.partition("=") for item in text.split("|")]
    if len(payload) > _MAX_SIGNED_BYTES or not all(key.isidentifier() and equals for key, equals, _ in pairs):
        raise MalformedFrame(f"expected key=value joined by |, got {quote(payload)}")
    parameters = {key: value for key, _, value in pairs}
    return {"sign_base": sign_base(parameters), "sign": sign(parameters)}
