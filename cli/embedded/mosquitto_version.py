"""Which Mosquitto it is, and what that means."""

import re
import subprocess
from pathlib import Path
from typing import Final

Version = tuple[int, int, int]
#: From the first to the last that drop what is for a client that is away, where listeners have settings of their own
#: (docs/decisions/0332).
_FORGETFUL: Final[tuple[Version, Version]] = ((2, 0, 12), (2, 0, 22))
_SAID: Final = re.compile(r"mosquitto version (\d+)\.(\d+)\.(\d+)")
_ANSWER_S: Final = 5.0


def version_of(program: Path) -> Version | None:
    """None when it does not say."""
    try:
        said = subprocess.run(
            [str(program), "-h"], check=False, capture_output=True, text=True, timeout=_ANSWER_S
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _SAID.match(said)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def is_forgetful(version: Version) -> bool:
    return _FORGETFUL[0] <= version <= _FORGETFUL[1]
