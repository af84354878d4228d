"""What people have agreed with the backend, in the model."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from fleet.rentals.underway.models import ClaimState
from tests.model.fares import NOTHING, Fare, Package, Pause

#: Minor units: a hundredth of what is withdrawn, and so much besides.
SHARE: Final = 100
FLAT: Final = 10


@dataclass
class Claimed:
    """A rider has said that the bank is in a slot."""

    id: UUID
    at: datetime
    code: str
    slot: int
    serial: str
    #: The bank really was at that station, and had been put in before.
    true: bool
    #: What became of it, by the books: whether that can be is judged in the end.
    state: ClaimState = ClaimState.PENDING
    decided_at: datetime | None = None
    decided_by: str | None = None

    @property
    def pause(self) -> Pause | None:
        """The clock stands still until it is found out; not at all for what was not so."""
        return None if self.state is ClaimState.REFUTED else (self.at, self.decided_at)


@dataclass(frozen=True, slots=True)
class Reassigned:
    """`since`: when it was said, or when that bank had come back without anybody's knowledge."""

    serial: str
    since: datetime


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Minor units that were owed, and what the rental cost then."""

    minor: int
    price: int

    def left(self, price: int) -> int:
        """What became cheaper since was never owed."""
        return max(0, self.minor - (self.price - price))


@dataclass
class Wish:
    """Money that a rider wanted out of the wallet; multiples of SHARE, so that nothing is rounded."""

    rider: UUID
    minor: int
    at: datetime
    #: What people made of it: cancelled, rejected, approved.
    decided: str | None = None

    @property
    def fee(self) -> int:
        return self.minor // SHARE + FLAT


@dataclass
class Kept:
    """A bank that is kept for a rider, in the model."""

    rider: UUID
    code: str
    slot: int
    serial: str
    at: datetime
    until: datetime
    fee: int
    #: The rider gave it up, or a rental at this station used it up.
    over: bool = False
    #: A sweep has seen that its time is over.
    settled: bool = False
    #: What it must cost in the end, where the model knows.
    charge: int | None = None


@dataclass
class Deal:
    """What a rider and the backend have agreed about one rental, in the model."""

    rider: UUID
    fare: Fare
    packages: list[Package] = field(default_factory=list)
    #: Points money that pays of it first, at most; None: all there is.
    points: int | None = 0
    #: Of a subscription: so much of the time is free.
    granted: timedelta = NOTHING
    #: The clock stands still: for riders before full stations, and by operators.
    pauses: list[Pause] = field(default_factory=list)
    stops: list[Pause] = field(default_factory=list)
    #: Ends of the pauses that the rider asked for.
    problems: list[datetime] = field(default_factory=list)
    #: Called off by the rider after the bank was back.
    called_off: bool = False
    #: Whatever becomes known later, it costs no more: decided by people.
    at_most: list[int] = field(default_factory=list)
    #: Given back on top of that.
    refunded: int = 0
    #: No later than this it was over, as an operator says.
    over_by: datetime | None = None
    #: An operator had a hand in it: books and world may differ.
    corrected: bool = False
    swap_asked: bool = False
    #: In its order, all that the rider said of where the bank is.
    claims: list[Claimed] = field(default_factory=list)
    #: The bank that the rider has, as an operator says.
    reassigned: Reassigned | None = None
    #: An operator gave up what was owed.
    given_up: GivenUp | None = None
    #: The rider does not agree with what it cost, and nobody has decided yet.
    disputed: bool = False

    def packages_until(self, ended: datetime) -> list[Package]:
        """What was bought when the bank was back already was not."""
        return [each for each in self.packages if each.bought_at is None or each.bought_at <= ended]

    def stood_still(self) -> list[Pause]:
        """When the clock did."""
        return [*self.pauses, *self.stops, *(claim.pause for claim in self.claims if claim.pause is not None)]
