"""What a rental's trace is made of."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """`kind`: request, state_change, command, frame_sent, frame_received, movement, payment, transfer, case, report (by
    riders) or act (by operators).

    `detail` holds plain JSON values; times in it are RFC 3339.
    """

    kind: str
    at: datetime
    summary: str
    detail: dict[str, Any]


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
