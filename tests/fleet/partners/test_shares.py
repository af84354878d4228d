from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from fleet.common.errors import InvalidInput
from fleet.common.models import Country, OutboxEvent
from fleet.common.money import Money
from fleet.partners import queries, service
from fleet.partners.errors import AgreementNotFound, AgreementOverlap, StationNotTheirs, StationTaken
from fleet.partners.models import PartnerKind
from fleet.partners.service import AgreementTerms
from fleet.payments import holds
from fleet.payments.debts import service as debts
from fleet.payments.events import RentalDuePaid, RentalRefunded
from fleet.payments.models import AccountKind
from fleet.payments.taxes import set_rate
from fleet.rentals.closing.dues import collect_dues
from fleet.rentals.events import RentalClosed
from tests.factories import add_rider, give_money
from tests.fleet.partners.conftest import Trade, percent


def refund(trade: Trade, rental_id: UUID, minor: int, key: str) -> None:
    money = Money(minor, "EUR")
    holds.refund_rental(
        trade.world.session, rental_id=rental_id, money=money, reason="jam", key=key, now=trade.world.now
    )


def test_each_party_has_one_share_of_a_rental(trade: Trade) -> None:
    """3.00 paid, 0.08 for the house's service: of 2.92 the vendor has a tenth, the franchise three with it.

    29.2 + 58.4 + 204.4 cents are made whole by largest remainder.
    """
    rental = trade.ride()
    assert trade.settle(rental) == 2
    assert trade.shares(rental) == {"vendor": 29, "franchise": 59}
    assert (trade.owed(trade.vendor), trade.owed(trade.franchise)) == (29, 59)
    assert trade.house(AccountKind.PARTNER_SHARES) == 88
    trade.check()


def test_news_that_come_ten_times_post_once(trade: Trade) -> None:
    rental = trade.ride()
    assert [trade.settle(rental) for _ in range(10)] == [2, *[0] * 9]
    assert trade.owed(trade.vendor) == 29
    trade.check()


def test_a_refund_takes_the_shares_back_in_proportion(trade: Trade) -> None:
    """A refund that does not take back the partner's share: not here, not in part, not twice."""
    rental = trade.ride()
    trade.settle(rental)
    refund(trade, rental.id, 150, "half")
    for _ in range(2):
        trade.settle(rental)
    assert trade.shares(rental) == {"vendor": 15, "franchise": 29}
    refund(trade, rental.id, 150, "rest")
    trade.settle(rental)
    assert trade.shares(rental) == {"vendor": 0, "franchise": 0}
    assert (trade.owed(trade.vendor), trade.owed(trade.franchise)) == (0, 0)
    trade.check()


def test_a_refund_whose_news_come_before_those_of_the_rental(trade: Trade) -> None:
    rental = trade.ride()
    refund(trade, rental.id, 150, "half")
    trade.settle(rental)
    assert trade.shares(rental) == {"vendor": 15, "franchise": 29}
    trade.check()


def test_a_rental_that_cost_nothing_tells_partners_nothing(trade: Trade) -> None:
    rental = trade.world.start()
    trade.world.send(rental)
    assert (trade.settle(rental), trade.shares(rental)) == (0, {})


def test_debts_are_shared_when_they_are_paid(trade: Trade) -> None:
    """Never what nobody paid."""
    poor = add_rider(trade.world.session, trade.world.now, 500)
    rental = trade.world.rent(rider=poor)
    trade.world.later(timedelta(hours=9))
    trade.world.inserted("B", 1, trade.world.serial(rental))
    assert (rental.charged_minor, rental.due_minor) == (500, 500)
    trade.settle(rental)
    assert sum(trade.shares(rental).values()) == 146  # 30 % of 500 - 13
    give_money(trade.world.session, poor, trade.world.now, 1000)
    collect_dues(trade.world.session, poor, trade.world.now)
    trade.settle(rental)
    assert sum(trade.shares(rental).values()) == 293
    trade.check()


def test_the_account_of_taxes_is_the_tax_in_what_was_paid_and_kept(trade: Trade) -> None:
    """Decision 0123: when a wallet has too little, when debts are paid later, and when money goes back."""
    session = trade.world.session
    if session.get(Country, "CH") is None:
        session.add(Country(iso_code="CH", name="Switzerland", dial_code="+41", currency="EUR", locale="de-CH",
                            time_zone="Europe/Zurich"))  # fmt: skip
        session.flush()
    for station in trade.world.stations.values():
        station.country = "CH"
    set_rate(session, "CH", name="VAT", basis_points=2500, now=trade.world.now)
    poor = add_rider(session, trade.world.now, 500)
    rental = trade.world.rent(rider=poor)
    trade.world.later(timedelta(hours=9))
    trade.world.inserted("B", 1, trade.world.serial(rental))
    assert trade.house(AccountKind.TAX) == 0  # it is served last, and nothing was left
    for _ in range(2):
        trade.settle(rental)
    assert trade.house(AccountKind.TAX) == 100  # half of 1000 was paid, and the tax in 1000 is 200
    give_money(session, poor, trade.world.now, 1000)
    collect_dues(session, poor, trade.world.now)
    trade.settle(rental)
    assert trade.house(AccountKind.TAX) == 200
    refund(trade, rental.id, 250, "quarter")
    trade.settle(rental)
    assert (trade.house(AccountKind.TAX), trade.house(AccountKind.REFUNDS)) == (150, 200)
    assert sum(trade.shares(rental).values()) == round((750 - 150 - 19) * 0.3)
    trade.check()


def test_what_was_agreed_when_the_rental_was_requested_counts(trade: Trade) -> None:
    """Neither a new agreement nor a new owner of the station changes what was earned."""
    session, now = trade.world.session, trade.world.now
    rental = trade.world.rent()
    later = trade.world.later(timedelta(hours=2))
    old = queries.agreement_at(session, trade.franchise.id, trade.world.stations["A"].id, now)
    assert old is not None
    service.end_agreement(session, trade.franchise, old.id, later)
    session.flush()
    trade.agree(trade.franchise, percent(9000), later)
    service.hand_over(session, trade.franchise, trade.world.stations["A"], trade.franchise, later)
    trade.world.inserted("B", 1, trade.world.serial(rental))
    trade.settle(rental)
    assert trade.shares(rental) == {"vendor": 29, "franchise": 59}


def test_a_station_of_the_franchise_itself_earns_for_it_alone(trade: Trade) -> None:
    service.hand_over(trade.world.session, trade.franchise, trade.world.stations["A"], trade.franchise, trade.world.now)
    trade.world.later(timedelta(seconds=1))
    rental = trade.ride()
    trade.settle(rental)
    assert trade.shares(rental) == {"franchise": 88}


def test_a_vendor_whose_franchise_has_no_agreement_is_paid_out_of_nothing(trade: Trade) -> None:
    session, now = trade.world.session, trade.world.now
    agreement = queries.agreements(session, [trade.franchise.id])[0]
    service.end_agreement(session, trade.franchise, agreement.id, now)
    rental = trade.ride()
    assert (trade.settle(rental), trade.shares(rental)) == (0, {})


def test_a_stations_own_agreement_comes_before_the_one_for_all(trade: Trade) -> None:
    session, now = trade.world.session, trade.world.now
    wanted = AgreementTerms(percent(10_000), "EUR", 0, begins=now, station=trade.world.stations["A"])
    service.agree(session, trade.franchise, wanted, actor_id=None, now=now)
    rental = trade.ride()
    trade.settle(rental)
    assert trade.shares(rental) == {"vendor": 30, "franchise": 270}


def test_two_agreements_for_the_same_stations_do_not_hold_at_once(trade: Trade) -> None:
    with pytest.raises(AgreementOverlap):
        trade.agree(trade.franchise, percent(1), trade.world.now)
    past = AgreementTerms(percent(1), "EUR", 0, begins=trade.world.now - timedelta(days=9))
    with pytest.raises(InvalidInput):
        service.agree(trade.world.session, trade.vendor, past, actor_id=None, now=trade.world.now)
    agreement = queries.agreements(trade.world.session, [trade.franchise.id])[0]
    with pytest.raises(AgreementNotFound):
        service.end_agreement(trade.world.session, trade.vendor, agreement.id, trade.world.now)


def test_a_station_is_one_partners(trade: Trade) -> None:
    session, now, station = trade.world.session, trade.world.now, trade.world.stations["A"]
    other = service.create_partner(session, name="Other", kind=PartnerKind.VENDOR, now=now)
    with pytest.raises(StationTaken):
        service.assign_station(session, station, other, now)
    assert service.release_station(session, station, now)
    session.flush()
    service.assign_station(session, station, other, now)
    assert queries.holder_at(session, station.id, now) == other
    with pytest.raises(StationNotTheirs):
        service.hand_over(session, trade.franchise, station, trade.vendor, now)


@pytest.mark.parametrize("parent", ["a franchise's", "a vendor's"])
def test_the_tree_has_two_levels(trade: Trade, parent: str) -> None:
    kind, above = (
        (PartnerKind.FRANCHISE, trade.franchise) if parent == "a franchise's" else (PartnerKind.VENDOR, trade.vendor)
    )
    with pytest.raises(InvalidInput):
        service.create_partner(trade.world.session, name="x", kind=kind, now=trade.world.now, parent_id=above.id)
    with pytest.raises(IntegrityError), trade.world.session.begin_nested():
        trade.world.session.execute(
            text("INSERT INTO partner (id, name, kind, parent_id, status, created_at)"
                 " VALUES (gen_random_uuid(), 'x', :kind, :parent, 'active', now())"),
            {"kind": kind, "parent": above.id},
        )  # fmt: skip


@pytest.mark.parametrize("change", ["UPDATE revenue_agreement SET basis_points = 1", "DELETE FROM revenue_agreement"])
def test_the_database_keeps_what_was_agreed(trade: Trade, change: str) -> None:
    with pytest.raises(IntegrityError, match="never changes"), trade.world.session.begin_nested():
        trade.world.session.execute(text(change))


def test_what_changes_the_takings_is_told(trade: Trade) -> None:
    """Closing, refund and payment of a debt: the task hears of each."""
    rental = trade.ride()
    refund(trade, rental.id, 1, "k")
    owed = Money(1, "EUR")
    debts.incur(trade.world.session, user_id=rental.user_id, rental_id=rental.id, money=owed, now=trade.world.now)
    assert debts.pay(trade.world.session, rental.id, trade.world.now) == 1
    trade.world.session.flush()
    names = set(trade.world.session.scalars(select(OutboxEvent.name)))
    assert {RentalClosed.name, RentalRefunded.name, RentalDuePaid.name} <= names
