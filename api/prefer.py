"""`Prefer: wait=N` (RFC 7240)."""

import re
from typing import Annotated

from fastapi import Depends, Header

from api.operations import instant

MAX_WAIT_S = 30
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)


def wait_seconds(prefer: str | None) -> int:
    """Seconds to hold the answer, at most MAX_WAIT_S; 0 when the header does not ask for it."""
    found = _WAIT.search(prefer or "")
    return min(int(found.group(1)), MAX_WAIT_S) if found else 0


@instant
def _wait(
    prefer: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description="`wait=N`: hold the answer until the outcome is known, at most N (≤ 30) seconds",
            examples=["wait=20"],
        ),
    ] = None,
) -> int:
    return wait_seconds(prefer)


PreferWait = Annotated[int, Depends(_wait)]
