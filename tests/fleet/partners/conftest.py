from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.partners import payouts, service, shares
from fleet.partners.models import Partner, PartnerKind, RevenueShare, ShareKind
from fleet.partners.proof import CHECKS
from fleet.partners.rules import Terms
from fleet.partners.service import AgreementTerms
from fleet.payments import ledger, proof
from fleet.payments.models import AccountKind
from fleet.rentals.models import Rental
from tests.fleet.rentals.world import HOUR, World
from tests.workers.conftest import worker

__all__ = ["worker"]


def percent(basis_points: int) -> Terms:
    return Terms(ShareKind.PERCENT, basis_points)


@dataclass
class Trade:
    """A world whose station A is a vendor's (10 % of the net), of a franchise (30 %, the house takes 2.5 % first)."""

    world: World
    franchise: Partner = field(init=False)
    vendor: Partner = field(init=False)

    def __post_init__(self) -> None:
        session, now = self.world.session, self.world.now - timedelta(days=1)
        self.franchise = service.create_partner(session, name="North", kind=PartnerKind.FRANCHISE, now=now)
        self.vendor = service.create_partner(
            session, name="Kiosk", kind=PartnerKind.VENDOR, now=now, parent_id=self.franchise.id
        )
        self.agree(self.franchise, percent(3000), now)
        self.agree(self.vendor, percent(1000), now, service_bp=0)
        service.assign_station(session, self.world.stations["A"], self.vendor, now)

    def agree(self, partner: Partner, terms: Terms, now: datetime, service_bp: int = 250) -> None:
        wanted = AgreementTerms(terms, "EUR", service_bp, begins=now)
        service.agree(self.world.session, partner, wanted, actor_id=None, now=now)

    def ride(self, hours: int = 2) -> Rental:
        """A rental of 1.00 and 0.50 per half hour, brought back to B."""
        self.world.stations["A"].last_heard_at = self.world.now
        rental = self.world.rent()
        serial = self.world.serial(rental)
        self.world.later(hours * HOUR)
        self.world.inserted("B", 1, serial)
        return rental

    def settle(self, rental: Rental) -> int:
        return shares.settle_rental(self.world.session, rental.id, self.world.now)

    def shares(self, rental: Rental) -> dict[str, int]:
        query = select(RevenueShare).where(RevenueShare.rental_id == rental.id)
        names = {self.franchise.id: "franchise", self.vendor.id: "vendor"}
        found = self.world.session.scalars(query.execution_options(populate_existing=True))
        return {names[row.partner_id]: row.amount_minor for row in found}

    def owed(self, partner: Partner) -> int:
        return payouts.balance(self.world.session, partner.id, "EUR", self.world.now).balance_minor

    def house(self, kind: AccountKind) -> int:
        session = self.world.session
        ledger.apply_house_now(session)
        account: UUID = ledger.house_accounts(session, "EUR", self.world.now)[kind]
        return ledger.totals(session, account).balance_minor

    def check(self) -> None:
        self.world.session.flush()
        assert proof.prove(self.world.session, self.world.now, CHECKS).problems == ()


@pytest.fixture
def world(session: Session, now: datetime) -> World:
    return World(session, now)


@pytest.fixture
def trade(world: World) -> Trade:
    return Trade(world)
