"""Waiting between tries: exponential with full jitter, so that many who lost one thing do not return as one."""

from dataclasses import dataclass, field
from random import Random


@dataclass
class Backoff:
    first_s: float = 0.2
    longest_s: float = 30.0
    rng: Random = field(default_factory=Random)
    tries: int = 0

    def next_s(self) -> float:
        """How long to wait before the next try: anything up to twice as much as the time before."""
        ceiling = min(self.longest_s, self.first_s * 2 ** min(self.tries, 20))
        self.tries += 1
        return self.rng.uniform(0, ceiling)

    def reset(self) -> None:
        self.tries = 0
