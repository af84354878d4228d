"""What an inventory is made of: control boards and their holes, as the bytes say."""

from itertools import chain

from msgspec import Struct

from firmware_protocol.dialects.volinks.codes import HoleState, Revision, hole_revision, learn
from firmware_protocol.dialects.volinks.values import BankBytes


class Hole(BankBytes, frozen=True, kw_only=True, gc=False):
    """15 bytes of an inventory. When the state is 0 the cabinet leaves garbage in the other fields: ignore them."""

    hole: int
    state: int
    current_raw: int = 0
    battery_raw: int = 0
    sensor_raw: int = 0

    @property
    def occupied(self) -> bool:
        return self.state != HoleState.EMPTY

    @property
    def rentable(self) -> bool:
        return self.state == HoleState.NORMAL and self.serial is not None

    @property
    def battery_mv(self) -> int | None:
        """The vendor's own tool reads (raw + 200) / 100 V."""
        return (self.battery_raw + 200) * 10 if self.battery_raw else None

    @property
    def micro_switch_open(self) -> bool:
        """Nothing is inserted."""
        return bool(self.sensor_raw & 0x80)

    @property
    def solenoid_open(self) -> bool:
        return bool(self.sensor_raw & 0x40)


class Board(Struct, frozen=True, kw_only=True):
    """One control board and its holes."""

    address: int
    holes: tuple[Hole, ...]
    reserved1: int = 0xFF
    reserved2: int = 0xFF
    temp_raw: int = 0
    soft: int = 0
    hard: int = 0

    @property
    def io(self) -> int | None:
        """The serial port behind the address: hex digits read as decimal, by 50; None with A to F."""
        digits = f"{self.address:x}"
        return int(digits) // 50 if digits.isdecimal() else None


class Inventory(Struct, frozen=True, kw_only=True):
    """0x10. `layout` says how the boards were found: see layout.py. It is not sent."""

    boards: tuple[Board, ...]
    layout: str = "unique"

    @property
    def holes(self) -> tuple[Hole, ...]:
        return tuple(chain.from_iterable(board.holes for board in self.boards))

    @property
    def shape(self) -> tuple[int, ...]:
        """Holes per board: what commissioning keeps."""
        return tuple(len(board.holes) for board in self.boards)

    @property
    def revision(self) -> Revision:
        revision = Revision.UNKNOWN
        for hole in self.holes:
            revision = learn(revision, hole_revision(hole.state))
        return revision
