"""One small town per example: cabinets, banks and riders in the backend's tables and in the world at once."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.db import session_scope
from fleet.payments import wallets
from fleet.payments.models import AccountKind
from fleet.rentals.tariffs.models import PackageKind
from fleet.rentals.tariffs.packages import PackageSpec, create_package
from fleet.subscriptions.changes import Grant, grant
from fleet.subscriptions.models import PeriodUnit
from fleet.subscriptions.plans import PlanSpec, create_plan
from fleet.users.models import User
from tests.factories import add_banks, add_rider, add_station, add_tariff
from tests.model.backend import Backend
from tests.model.cabinets import Cabinet
from tests.model.deals import Deal, Kept, Wish
from tests.model.fares import ZONE, Fare, Package

STATIONS: Final = 3
SLOTS: Final = 4
BANKS: Final = 7
#: What each of them has: enough for everything, for some of it, for hardly anything without a card.
FUNDS: Final = (5000, 900, 150)
RIDERS: Final = len(FUNDS)
#: And of points: none, more than can be spent, some.
POINTS: Final = (0, 20_000, 300)
#: Who has a subscription, and how much of each rental is free by it.
SUBSCRIBER: Final = 0
GRANTED: Final = timedelta(minutes=40)
#: What most stations charge: a bank that is not back half a day after its time is lost.
COMMON: Final = Fare(lost_after=timedelta(hours=12), lost_fee=700, reservation_fee=120)
#: What the last station charges: nothing for a short while, late hours, and no end but the cap.
OWN: Final = Fare(free=timedelta(minutes=5), due=timedelta(hours=3), late_hour=40, cap=2500)
OFFERS: Final = (
    (PackageKind.PREPAID, Package(timedelta(hours=2), 180)),
    (PackageKind.POSTPAID, Package(timedelta(hours=5), 300)),
)
#: Where riders may take money out of their wallets.
COUNTRY: Final = "CH"
_numbers = count(1)


@dataclass
class Town:
    cabinets: dict[str, Cabinet]
    station_ids: list[int]
    riders: list[UUID]
    operator: UUID
    #: Agrees, or does not, to what an operator may not do alone.
    second: UUID
    #: Serials of the fleet.
    banks: list[str]
    #: Ids of OFFERS.
    offers: list[UUID]
    #: Banks in people's hands.
    hands: list[str] = field(default_factory=list)
    #: Banks that were pulled out by force and not brought back since.
    stolen: set[str] = field(default_factory=set)
    #: When which bank left its slot, by whatever force.
    went: list[tuple[str, datetime]] = field(default_factory=list)
    #: Rentals that were begun, in their order.
    rentals: dict[UUID, Deal] = field(default_factory=dict)
    kept: dict[UUID, Kept] = field(default_factory=dict)
    #: Whose payment an intent is.
    top_ups: dict[UUID, UUID] = field(default_factory=dict)
    #: What a payment for a rental will begin, if it comes.
    card_starts: dict[UUID, Deal] = field(default_factory=dict)
    #: Saved cards by rider.
    methods: dict[UUID, UUID] = field(default_factory=dict)
    #: Money that riders wanted out of their wallets.
    wishes: dict[UUID, Wish] = field(default_factory=dict)

    def fare(self, code: str) -> Fare:
        return OWN if code == list(self.cabinets)[-1] else COMMON

    def deal(self, rider: UUID, code: str, offer: int | None, points: int | None) -> Deal:
        granted = GRANTED if rider == self.riders[SUBSCRIBER] else timedelta(0)
        return Deal(rider, self.fare(code), [] if offer is None else [OFFERS[offer][1]], points, granted)

    def place_of(self, serial: str) -> tuple[str, int] | None:
        """The slot that a bank is really in."""
        for code, cabinet in self.cabinets.items():
            for number, held in cabinet.slots.items():
                if held == serial:
                    return code, number
        return None


def build(backend: Backend, now: datetime) -> Town:
    """Every cabinet has booted, has told what is in its slots, and its clock is known."""
    number = next(_numbers)
    codes = [f"M{number}-{letter}" for letter in "ABC"[:STATIONS]]
    banks = [f"{number}-{n}" for n in range(1, BANKS + 1)]
    with session_scope(backend.engine) as session:
        add_banks(session, now, banks)
        ids = [add_station(session, now, code, SLOTS, time_zone=ZONE.key).id for code in codes]
        add_tariff(
            session, now, name="own", station_id=ids[-1], free_period=OWN.free, overdue_after=OWN.due,
            late_hourly_minor=OWN.late_hour, total_cap_minor=OWN.cap,
        )  # fmt: skip
        riders = [add_rider(session, now, funds) for funds in FUNDS]
        for each in riders:
            session.get_one(User, each).country = COUNTRY
        operator, second = add_rider(session, now, 0), add_rider(session, now, 0)
        give_points(session, riders, operator, now)
        subscribe(session, riders[SUBSCRIBER], operator, f"town-{number}", now)
        offers = [
            create_package(
                session, PackageSpec(f"town {number}: {kind}", kind, offer.duration, offer.price, "EUR"), now
            ).id
            for kind, offer in OFFERS
        ]
    cabinets = {code: Cabinet(code, dict.fromkeys(range(1, SLOTS + 1))) for code in codes}
    for place, serial in enumerate(banks):
        cabinets[codes[place % STATIONS]].slots[place // STATIONS + 1] = serial
    town = Town(cabinets, ids, riders, operator, second, banks, offers)
    for cabinet in cabinets.values():
        cabinet.inventory(now)
        backend.ingest([cabinet.booted(now)])
        deliver(backend, cabinet, now)
    return town


def give_points(session: Session, riders: list[UUID], operator: UUID, now: datetime) -> None:
    for rider, points in zip(riders, POINTS, strict=True):
        if points:
            wallets.adjust(
                session, user_id=rider, money=Money(points, "EUR"), reason="model", actor_id=operator, key="points",
                now=now, account=AccountKind.BONUS,
            )  # fmt: skip


def subscribe(session: Session, rider: UUID, operator: UUID, code: str, now: datetime) -> None:
    """For longer than the town lasts."""
    spec = PlanSpec(code, 900, "EUR", PeriodUnit.MONTH, 12, free_minutes_per_rental=GRANTED // timedelta(minutes=1))
    create_plan(session, code, spec, now)
    grant(session, Grant(rider, code, operator), now)


def deliver(backend: Backend, cabinet: Cabinet, now: datetime) -> None:
    """All that waits, in order."""
    batch = [cabinet.frame(event, now) for event in cabinet.waiting]
    cabinet.said += cabinet.waiting
    cabinet.waiting = []
    if batch:
        backend.ingest(batch)
