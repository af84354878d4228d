"""The data of a 0x10, to boards and back. How many holes each board has is found by layout.py."""

import struct
from collections.abc import Sequence
from typing import Final

from firmware_protocol.dialects.volinks import layout as layouts
from firmware_protocol.dialects.volinks.boards import Board, Hole, Inventory
from firmware_protocol.dialects.volinks.limits import BOARD_BYTES, HOLE_BYTES

_BOARD: Final = struct.Struct(">6B")
_HOLE: Final = struct.Struct(">5BI6B")


def decode(data: bytes, layout: Sequence[int] | None = None) -> Inventory:
    """The data of a 0x10; AmbiguousLayout or LayoutMismatch when it cannot be cut into boards beyond doubt."""
    if layout is None:
        shape, found = layouts.infer(data)
    else:
        shape, found = layouts.check(data, layout), layouts.COMMISSIONED
    boards, start = [], 0
    for holes in shape:
        first = start + BOARD_BYTES
        end = first + HOLE_BYTES * holes
        boards.append(_board(data[start:first], data[first:end]))
        start = end
    return Inventory(boards=tuple(boards), layout=found)


def encode(frame: Inventory) -> bytes:
    """The data; struct.error for a value that does not fit its field."""
    return b"".join(_board_bytes(board) for board in frame.boards)


def _board(header: bytes, records: bytes) -> Board:
    address, reserved1, reserved2, temp_raw, soft, hard = _BOARD.unpack(header)
    return Board(
        address=address,
        reserved1=reserved1,
        reserved2=reserved2,
        temp_raw=temp_raw,
        soft=soft,
        hard=hard,
        holes=tuple(_hole(*record) for record in _HOLE.iter_unpack(records)),
    )


def _hole(*fields: int) -> Hole:
    hole, state, current, battery, area, sn, soc, temp, volt, amp, soft, sensor = fields
    return Hole(
        hole=hole,
        state=state,
        current_raw=current,
        battery_raw=battery,
        area=area,
        sn=sn,
        soc_raw=soc,
        temp_raw=temp,
        charge_v_raw=volt,
        charge_a_raw=amp,
        soft=soft,
        sensor_raw=sensor,
    )


def _board_bytes(board: Board) -> bytes:
    header = _BOARD.pack(board.address, board.reserved1, board.reserved2, board.temp_raw, board.soft, board.hard)
    return header + b"".join(
        _HOLE.pack(
            hole.hole,
            hole.state,
            hole.current_raw,
            hole.battery_raw,
            hole.area,
            hole.sn,
            hole.soc_raw,
            hole.temp_raw,
            hole.charge_v_raw,
            hole.charge_a_raw,
            hole.soft,
            hole.sensor_raw,
        )
        for hole in board.holes
    )
