"""How an inventory is cut into boards: found beyond doubt, or refused."""

from itertools import count

import pytest

from firmware_protocol.dialects.volinks import board_codec, codec, layout
from firmware_protocol.dialects.volinks.boards import Board, Hole, Inventory
from firmware_protocol.errors import AmbiguousLayout, LayoutMismatch


def inventory(shape: tuple[int, ...], *, first: int = 1, gaps: tuple[int, ...] = (), style: int = 0xFF) -> bytes:
    """Data of a cabinet with banks in every second hole. `gaps`: hole numbers left out before each board."""
    number = count(first)
    boards = []
    for index, holes in enumerate(shape):
        for _ in range(gaps[index] if index < len(gaps) else 0):
            next(number)
        boards.append(
            Board(
                address=index + 1,
                reserved1=style,
                reserved2=style,
                soft=4,
                hard=22,
                holes=tuple(_hole(next(number)) for _ in range(holes)),
            )
        )
    return codec.encode_up(Inventory(boards=tuple(boards)))[4:-1]


def _hole(number: int) -> Hole:
    full = number % 2
    return Hole(
        hole=number & 0xFF,
        state=full,
        sn=(85_000_000 + number) * full,
        battery_raw=230 * full,
        soc_raw=90 * full,
        temp_raw=25 * full,
        sensor_raw=0 if full else 0x80,
    )


#: Layouts seen in the field or named in the reference, and those on which earlier rules failed.
SHAPES = [
    (4,),
    (3,),
    (4, 4),
    (6, 6, 6),
    (6, 6),
    (4, 8),
    (8, 4),
    (4,) * 16,
    (4,) * 21,
    (3,) * 22,
    (4,) * 11 + (12,) * 3 + (20,) * 5,
    (1,),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("style", [0xFF, 0x00])
def test_known_layouts_are_found(shape: tuple[int, ...], style: int) -> None:
    data = inventory(shape, style=style)
    assert layout.infer(data) == (shape, layout.UNIQUE)
    assert layout.check(data, shape) == shape


@pytest.mark.parametrize("style", [0xFF, 0x00])
def test_hole_numbers_wrap_on_large_cabinets(style: int) -> None:
    # Hole 256 ends a board here: its number 0 and the zeros of an empty hole read as a board's header as well.
    frame = board_codec.decode(inventory((4,) * 10 + (36,) * 9, style=style))
    assert frame.layout == layout.PREFERRED
    assert frame.shape == (4,) * 10 + (36,) * 9
    numbers = [hole.hole for hole in frame.holes]
    assert len(numbers) == 364
    assert numbers[253:258] == [254, 255, 0, 1, 2]


def test_boards_may_leave_hole_numbers_out() -> None:
    data = inventory((6, 6), gaps=(0, 24))
    frame = board_codec.decode(data)
    assert frame.shape == (6, 6)
    assert frame.boards[1].holes[0].hole == 31


def two_readings(*, style: int = 0, address: int = 7, holes: int = 4) -> bytes:
    """7 holes on 2 boards that read as 3 + 4 and, by bytes made for it, as 4 + 3 as well."""
    data = bytearray(inventory((holes - 1, holes), style=style))
    # The fourth hole of the other reading begins where the true second board does ...
    second = 6 + 15 * (holes - 1)
    data[second] = holes
    # ... and its second board 15 bytes later, whose first hole comes 6 bytes after that.
    other = second + 15
    data[other : other + 3] = bytes((address, style, style))
    for index in range(holes - 1):
        data[other + 6 + 15 * index] = holes + 1 + index
    return bytes(data)


def test_several_readings_are_refused() -> None:
    data = two_readings(address=9)
    cuts = layout._cuts(data)
    assert set(cuts) == {(3, 4), (4, 3)}
    with pytest.raises(AmbiguousLayout, match="got 2 that fit"):
        layout.infer(data)
    assert layout.check(data, (3, 4)) == (3, 4)
    assert layout.check(data, (4, 3)) == (4, 3)


def test_a_count_in_the_header_decides() -> None:
    data = bytearray(two_readings(address=9))
    data[1] = 3
    assert layout.infer(bytes(data)) == ((3, 4), layout.PREFERRED)
    data[1] = 4
    assert layout.infer(bytes(data)) == ((4, 3), layout.PREFERRED)


def test_one_header_style_decides() -> None:
    data = bytearray(two_readings(address=9))
    data[6 + 15 * 4 + 1] = 0xFF  # the second board of 4 + 3
    assert layout.infer(bytes(data)) == ((3, 4), layout.PREFERRED)


def test_rising_addresses_decide_last() -> None:
    data = bytearray(two_readings(address=0))
    assert layout.infer(bytes(data)) == ((3, 4), layout.PREFERRED)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(6),
        bytes(20),
        inventory((4,))[:-1],
        inventory((4,)) + b"\0",
        # a partial list: holes 1, 3, 4
        inventory((1,)) + inventory((4,))[6 + 30 :],
    ],
)
def test_no_reading_is_refused(data: bytes) -> None:
    with pytest.raises(AmbiguousLayout, match="expected"):
        layout.infer(data)


@pytest.mark.parametrize(("shape", "wanted"), [((4, 4), (8,)), ((4, 4), (4,)), ((4, 4), (2, 6)), ((4,), (4, 4))])
def test_a_layout_that_changed_is_refused(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    with pytest.raises(LayoutMismatch, match="expected"):
        board_codec.decode(inventory(shape), wanted)


@pytest.mark.parametrize("phase", range(15))
def test_hostile_data_costs_little(phase: int) -> None:
    # Every byte is the one 15 before it plus one: a hole, or a board, can begin anywhere.
    data = bytes(((at + phase) // 15) & 0xFF for at in range(0xFFFF - 5))
    with pytest.raises(AmbiguousLayout):
        layout.infer(data)
    with pytest.raises(AmbiguousLayout):
        layout.infer(bytes((at // 15 + at % 3) & 0xFF for at in range(phase, 3000 + phase)))


def test_more_boards_than_any_cabinet_has() -> None:
    assert layout.infer(inventory((2,) * 32)) == ((2,) * 32, layout.UNIQUE)
    with pytest.raises(AmbiguousLayout):
        layout.infer(inventory((2,) * 33))
