"""Golden vectors (README.md)."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

_HERE = Path(__file__).parent
#: A set beside the repository is newer than the copy that is checked in.
_SHARED = _HERE.parents[3] / "shared" / "vectors"


class Vector(Struct, frozen=True, kw_only=True):
    """One frame: `expect` None is a downlink or a signature, which have nothing to refuse."""

    name: str
    hex: str
    decoded: dict[str, Any]
    direction: str
    note: str = ""
    expect: str | None = None
    generation: int | None = None
    secret_for_token: str | None = None

    @property
    def payload(self) -> bytes:
        return bytes.fromhex(self.hex)

    @property
    def accepted(self) -> bool:
        return self.expect in {None, "accept", "split"}


def load(dialect: str) -> list[Vector]:
    """Every vector of `volinks` or `relink`."""
    name = f"{dialect}.json"
    path = _SHARED / name
    return msgspec.json.decode((path if path.is_file() else _HERE / name).read_bytes(), type=list[Vector])
