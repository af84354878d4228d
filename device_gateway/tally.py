from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """What one batch did, counted once it is committed."""

    #: By message type.
    applied: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    #: By error code.
    dead: Counter[str] = field(default_factory=Counter)
    late: int = 0
    given_up: int = 0
    resends: int = 0

    def add(self, other: "Tally") -> None:
        self.applied.update(other.applied)
        self.duplicates.update(other.duplicates)
        self.dead.update(other.dead)
        self.late += other.late
        self.given_up += other.given_up
        self.resends += other.resends
