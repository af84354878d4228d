"""How many holes each board of an inventory has. The frame does not say: volinks.md §4.4, the safe rule.

Every cut of the data into groups of one board and one or more holes is enumerated: hole numbers rise by exactly one
(modulo 256) inside a group, and the next group begins at the next number (modulo 256) or at any larger one. Of several
cuts the rules (a) to (e) choose; what they cannot decide is refused, because a wrong cut moves serials and states.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from firmware_protocol.dialects.volinks.limits import BOARD_BYTES, HOLE_BYTES, MAX_BOARDS, MAX_CUT_STEPS, MAX_CUTS
from firmware_protocol.errors import AmbiguousLayout, LayoutMismatch, quote

#: Holes per board, board by board.
Shape = tuple[int, ...]

#: How a shape was found; shown by people's tools.
UNIQUE: Final = "unique"
#: Several cuts, one of which the rules (a) to (e) left.
PREFERRED: Final = "preferred"
#: Given by whoever commissioned the cabinet.
COMMISSIONED: Final = "commissioned"

_HEADER_FILL: Final = frozenset({0x00, 0xFF})


class _Group(NamedTuple):
    """One board as a candidate cut sees it."""

    address: int
    reserved1: int
    reserved2: int
    first: int
    holes: int


def infer(data: bytes) -> tuple[Shape, str]:
    """Holes per board of an inventory's data, and how that was found. Raises AmbiguousLayout for none or several."""
    cuts = _cuts(data)
    if len(cuts) == 1:
        return cuts[0], UNIQUE
    if not cuts:
        raise AmbiguousLayout(f"expected boards of 6 bytes with holes of 15 in rising order, got {quote(data)}")
    left = [(cut, _groups(data, cut)) for cut in cuts]
    for prefers in _PREFERENCES:
        preferred = [item for item in left if prefers(item[1])]
        left = preferred or left
        if len(left) == 1:
            return left[0][0], PREFERRED
    shapes = ", ".join("+".join(map(str, cut)) for cut, _ in left[:3])
    raise AmbiguousLayout(f"expected one layout, got {len(left)} that fit ({shapes}) in {quote(data)}")


def check(data: bytes, shape: Sequence[int]) -> Shape:
    """`shape`, when the data has it; LayoutMismatch otherwise. This is the rule for a commissioned cabinet."""
    wanted = "+".join(map(str, shape))
    size = sum(BOARD_BYTES + HOLE_BYTES * holes for holes in shape)
    if size != len(data):
        raise LayoutMismatch(f"expected {size} bytes for holes {wanted}, got {len(data)}: {quote(data)}")
    start, last = 0, None
    for holes in shape:
        first = start + BOARD_BYTES
        if _run(data, first) < holes or (last is not None and not _follows(last, data[first])):
            raise LayoutMismatch(f"expected holes {wanted} in rising order, got {quote(data[start:])} at byte {start}")
        start = first + HOLE_BYTES * holes
        last = data[start - HOLE_BYTES]
    return tuple(shape)


def _cuts(data: bytes) -> list[Shape]:
    """Every cut, at most MAX_CUTS; AmbiguousLayout for more, or for more work than real frames need."""
    steps = _steps(data)
    tails: dict[int, list[Shape]] = {len(data): [()]}
    for start in sorted(steps, reverse=True):
        found = [
            (holes, *tail)
            for holes in steps[start]
            for tail in tails.get(start + BOARD_BYTES + HOLE_BYTES * holes, ())
            if len(tail) < MAX_BOARDS
        ]
        if len(found) > MAX_CUTS:
            raise AmbiguousLayout(f"expected one layout, got more than {MAX_CUTS} that fit in {quote(data)}")
        tails[start] = found
    return tails.get(0, []) if data else []


def _steps(data: bytes) -> dict[int, list[int]]:
    """For each byte at which a board can begin: the numbers of holes after which another can, or the data ends."""
    steps: dict[int, list[int]] = {}
    depth = {0: 0}
    todo = deque([0])  # nearest first, so that `depth` is the fewest boards
    taken = 0
    while todo:
        start = todo.popleft()
        steps[start] = []
        for holes in range(1, _run(data, start + BOARD_BYTES) + 1):
            end = start + BOARD_BYTES + HOLE_BYTES * holes
            if end != len(data):
                following = end + BOARD_BYTES
                if following + HOLE_BYTES > len(data):
                    continue
                if not _follows(data[end - HOLE_BYTES], data[following]) or depth[start] + 1 >= MAX_BOARDS:
                    continue
                if end not in depth:
                    depth[end] = depth[start] + 1
                    todo.append(end)
            steps[start].append(holes)
            taken += 1
            if taken > MAX_CUT_STEPS:
                raise AmbiguousLayout(f"expected an inventory, got too many ways to read {quote(data)}")
    return steps


def _run(data: bytes, at: int) -> int:
    """Whole holes from byte `at` on whose numbers rise by one."""
    most = (len(data) - at) // HOLE_BYTES
    if most <= 0:
        return 0
    holes = 1
    while holes < most and data[at + HOLE_BYTES * holes] == (data[at + HOLE_BYTES * (holes - 1)] + 1) & 0xFF:
        holes += 1
    return holes


def _follows(last: int, first: int) -> bool:
    return first > last or first == (last + 1) & 0xFF


def _groups(data: bytes, shape: Shape) -> list[_Group]:
    groups, start = [], 0
    for holes in shape:
        address, reserved1, reserved2 = data[start : start + 3]
        groups.append(_Group(address, reserved1, reserved2, data[start + BOARD_BYTES], holes))
        start += BOARD_BYTES + HOLE_BYTES * holes
    return groups


def _counts_agree(groups: list[_Group]) -> bool:
    """(a) A second header byte that is neither 00 nor FF is the number of holes."""
    return all(group.holes == group.reserved1 for group in groups if group.reserved1 not in _HEADER_FILL)


def _one_style(groups: list[_Group]) -> bool:
    """(b) All headers are FF FF, or 00 00, or carry the count."""
    return len({_style(group) for group in groups}) == 1 and _style(groups[0]) != "mixed"


def _style(group: _Group) -> str:
    if group.reserved1 not in _HEADER_FILL:
        return "count"
    return f"{group.reserved1:02x}" if group.reserved1 == group.reserved2 else "mixed"


def _contiguous(groups: list[_Group]) -> bool:
    """(c) No hole number is left out between boards."""
    pairs = pairwise(groups)
    return all(after.first == (before.first + before.holes) & 0xFF for before, after in pairs)


def _equal(groups: list[_Group]) -> bool:
    """(d) Every board has as many holes."""
    return len({group.holes for group in groups}) == 1


def _addresses_rise(groups: list[_Group]) -> bool:
    """(e) Board addresses rise."""
    return all(before.address < after.address for before, after in pairwise(groups))


_PREFERENCES: Final[tuple[Callable[[list[_Group]], bool], ...]] = (
    _counts_agree,
    _one_style,
    _contiguous,
    _equal,
    _addresses_rise,
)
