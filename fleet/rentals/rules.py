"""Which state follows which, and the numbers that rentals go by. Pure."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Self

from fleet.common.errors import IllegalTransition
from fleet.rentals.models import RentalState, StartEvidence
from fleet.rentals.pricing.adjustments import AdjustmentSource
from fleet.rentals.pricing.subscribed import SubscriptionBenefits
from fleet.settings import Settings
from fleet.stations.rules import HealthPolicy

_S = RentalState
#: Closed is not the end: a bank that leaves late re-opens what was thought to have failed.
TRANSITIONS: Final[dict[RentalState, frozenset[RentalState]]] = {
    # COMPLETED, here and in the next line: the other bank of an exchange did not come.
    _S.EJECTING: frozenset({_S.ACTIVE, _S.EJECT_FAILED, _S.EJECT_UNKNOWN, _S.CANCELLED, _S.COMPLETED}),
    # Back to EJECTING when the bank was seen in its slot while the rider still waits: the next slot is tried.
    # Cancelled, here and below, by operators.
    _S.EJECT_UNKNOWN: frozenset({_S.ACTIVE, _S.EJECT_FAILED, _S.EJECTING, _S.CANCELLED, _S.COMPLETED}),
    # Back to EJECT_FAILED, from here on, when the start was deduced and the cabinet says that its order moved nothing.
    # EJECTING: the rider has given the bank back for another one.
    _S.ACTIVE: frozenset(
        {_S.OVERDUE, _S.COMPLETED, _S.BOUGHT_OUT, _S.DISPUTED, _S.EJECT_FAILED, _S.CANCELLED, _S.EJECTING}
    ),
    _S.OVERDUE: frozenset({_S.COMPLETED, _S.BOUGHT_OUT, _S.DISPUTED, _S.EJECT_FAILED, _S.CANCELLED}),
    _S.EJECT_FAILED: frozenset({_S.ACTIVE}),
    _S.CANCELLED: frozenset({_S.ACTIVE}),
    # CANCELLED: the bank was back at once, and the rider says that it was of no use.
    _S.COMPLETED: frozenset({_S.DISPUTED, _S.EJECT_FAILED, _S.CANCELLED}),
    # COMPLETED: the bank is back after all, or was before.
    _S.BOUGHT_OUT: frozenset({_S.COMPLETED, _S.DISPUTED, _S.EJECT_FAILED}),
    _S.DISPUTED: frozenset({_S.COMPLETED, _S.BOUGHT_OUT, _S.EJECT_FAILED}),
}

#: The bank is with the rider.
RIDING: Final = (RentalState.ACTIVE, RentalState.OVERDUE)
#: Nobody has proof yet that the bank left.
WAITING: Final = (RentalState.EJECTING, RentalState.EJECT_UNKNOWN)
#: Thought to have moved nothing; the bank may prove otherwise.
FAILED: Final = (RentalState.EJECT_FAILED, RentalState.CANCELLED)


def better(evidence: StartEvidence, known: StartEvidence | None) -> bool:
    """Whether this tells the time of the start better than what is known."""
    ranks = tuple(StartEvidence)
    return known is None or ranks.index(evidence) > ranks.index(known)


def may(current: RentalState, wanted: RentalState) -> bool:
    return wanted in TRANSITIONS[current]


def check(current: RentalState, wanted: RentalState) -> None:
    """Raises IllegalTransition, which names both states, unless the table holds the move."""
    if not may(current, wanted):
        raise IllegalTransition("rental", current, wanted)


@dataclass(frozen=True, slots=True)
class RentalPolicy:
    """Limits of rentals, from the settings."""

    eject_deadline: timedelta
    eject_grace: timedelta
    eject_unknown_limit: timedelta
    max_open_rentals: int
    min_charge_pct: int
    not_taken_window: timedelta
    offline_after_periods: float
    #: How long a cabinet has to answer `query_inventory`, and the pause before it is asked again.
    inventory_deadline: timedelta = timedelta(seconds=60)
    inventory_again: timedelta = timedelta(seconds=30)
    #: How often the slots of a quiet station are looked at; zero: only after a connection.
    reconcile_every: timedelta = timedelta(minutes=30)
    #: A slot that failed, or whose bank was not taken, is given to nobody for so long.
    slot_watch: timedelta = timedelta(minutes=10)
    #: The first slot and the next best one.
    max_eject_attempts: int = 2
    #: A bank may be exchanged so long after it left; the rider has as long again to put it back.
    swap_window: timedelta = timedelta(minutes=5)
    #: A bank is kept for a rider so long, and not again at the same station before as much time has passed.
    reservation: timedelta = timedelta(minutes=15)
    #: How long before its due time a rider is reminded.
    remind_before: timedelta = timedelta(minutes=15)
    #: A bank that is back so soon may be cancelled free of charge, for as long again, and so many times a day.
    cancel_window: timedelta = timedelta(minutes=5)
    cancels_a_day: int = 3
    #: A bank that is back sooner than this may be broken.
    quick_return: timedelta = timedelta(minutes=5)
    health: HealthPolicy = field(default_factory=HealthPolicy)
    #: For how long, and how often in one rental, billing stands still when a station cannot take the bank.
    return_grace: timedelta = timedelta(minutes=30)
    return_problems_max: int = 2
    #: How often in one rental a rider may say that the bank is in a slot.
    return_claims_max: int = 3
    #: For how long after its end a rental may be disputed.
    dispute_within: timedelta = timedelta(days=30)
    #: Riders without an account may rent by card.
    guests_allowed: bool = True
    #: Who may have something to say about a price.
    sources: tuple[AdjustmentSource, ...] = ()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            eject_deadline=timedelta(seconds=settings.eject_deadline_s),
            eject_grace=timedelta(seconds=settings.eject_grace_s),
            eject_unknown_limit=timedelta(seconds=settings.eject_unknown_limit_s),
            max_open_rentals=settings.max_open_rentals,
            min_charge_pct=settings.min_rentable_charge_pct,
            not_taken_window=timedelta(seconds=settings.not_taken_window_s),
            offline_after_periods=settings.offline_after_periods,
            swap_window=timedelta(seconds=settings.swap_window_s),
            reservation=timedelta(seconds=settings.reservation_s),
            remind_before=timedelta(seconds=settings.remind_before_s),
            cancel_window=timedelta(seconds=settings.cancel_window_s),
            cancels_a_day=settings.cancels_a_day,
            quick_return=timedelta(seconds=settings.quick_return_s),
            reconcile_every=timedelta(seconds=settings.reconcile_every_s),
            health=HealthPolicy.from_settings(settings),
            return_grace=timedelta(seconds=settings.return_grace_s),
            return_problems_max=settings.return_problems_max,
            dispute_within=timedelta(days=settings.dispute_days),
            guests_allowed=settings.guests,
            sources=(SubscriptionBenefits(),),
        )

    def silence_allowed(self, heartbeat_s: int, learned_s: float | None) -> timedelta:
        """How long a present cabinet may have been silent; signs of life are written a little late.

        `learned_s`: what its own ways allow, where those are known to differ from what it is asked for.
        """
        return timedelta(seconds=(learned_s or self.offline_after_periods * heartbeat_s) + 5)
