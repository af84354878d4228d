"""How often a cabinet is really heard of, and how much silence is too much. Pure."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from firmware_protocol.dialect import Cadence

#: Gaps between heartbeats that are remembered, and how many are needed before anything is concluded.
_REMEMBERED: Final = 8
_ENOUGH: Final = 4
#: Two heartbeats closer than this came out of one queue.
_ONE_QUEUE_S: Final = 0.5
#: What was learned is told again when it changed by more than this share.
_NEWS: Final = 0.2


@dataclass(slots=True)
class Rhythm:
    """The heartbeats of one station, as one gateway hears them.

    With several gateways each hears some of them only, so that gaps are one, two or three periods: the shortest but one
    is the period. A cabinet's own clock says when a heartbeat was sent; one that has none waits in queues.
    """

    last_s: float | None = None
    gaps: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def beat(self, at_s: float) -> None:
        """A heartbeat of that time (seconds); what comes twice or late teaches nothing."""
        if self.last_s is not None:
            gap = at_s - self.last_s
            if gap <= 0:
                return
            if gap >= _ONE_QUEUE_S:
                self.gaps.append(gap)
        self.last_s = at_s

    @property
    def period_s(self) -> float | None:
        """None while too little was heard."""
        if len(self.gaps) < _ENOUGH:
            return None
        return sorted(self.gaps)[1]


def period(cadence: Cadence, asked_s: float, learned_s: float | None) -> float:
    """The period to go by, in seconds.

    Never shorter than what the cabinet is asked for, or its dialect says: it may come back to that at any time. Never
    longer than the dialect allows: a cabinet that hardly ever speaks must not be taken for present.
    """
    nominal = asked_s if cadence.period_s is None else float(cadence.period_s)
    return nominal if learned_s is None else max(nominal, min(learned_s, max(nominal, cadence.most_s)))


def silence_allowed(cadence: Cadence, period_s: float, periods: float) -> float:
    """Seconds without a word after which it is away. `periods`: for dialects that name no number of their own."""
    return (cadence.periods or periods) * period_s + cadence.margin_s


def is_news(value: float | None, known: float | None) -> bool:
    """Whether it differs so much from what was told that it should be told again."""
    if value is None or known is None:
        return value is not known
    return abs(value - known) > _NEWS * known
