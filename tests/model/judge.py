"""The promise, held against the tables once everything that can be told has been told."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from fleet.devices.commands import EJECT
from fleet.devices.models import DeviceCommand
from fleet.payments.disputes.models import CardDispute
from fleet.payments.intent_models import PaymentIntent
from fleet.payments.providers.base import DisputeStatus
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.models import Rental, RentalEvent, RentalState
from fleet.rentals.rules import FAILED, RIDING
from fleet.rentals.starts.models import Reservation, ReservationState
from fleet.stations.models import PowerBank, Station, StationSlot
from tests.model import hearsay
from tests.model.accounts import Accounts
from tests.model.cabinets import Arrival, Departure
from tests.model.deals import Deal
from tests.model.fares import used
from tests.model.owed import Owed
from tests.model.town import Town

_S = RentalState


@dataclass(frozen=True, slots=True)
class Ride:
    """What the world knows of one rental."""

    rental: Rental
    deal: Deal
    serial: str
    sent: list[datetime]
    left: list[Departure]
    #: When each of these banks was back.
    back: list[Arrival | None]

    @property
    def over_at(self) -> datetime | None:
        """When the rider had given back whatever they got; None while they have something."""
        if not self.left or None in self.back:
            return None
        return max(each.at for each in self.back if each is not None)


class Judge:
    def __init__(self, engine: Engine, town: Town, now: datetime) -> None:
        self._engine = engine
        self._town = town
        self._now = now

    def judge(self) -> None:
        with Session(self._engine) as session:
            self._slots(session)
            rides = [self._ride(session, *each) for each in self._town.rentals.items()]
            for ride in rides:
                self._rental(session, ride)
                self._disputed(session, ride)
            self._banks(session)
            self._nothing_kept(session)
            rentals = [ride.rental for ride in rides]
            hearsay.judge(self._town, rentals)
            Accounts(session, self._town, self._now).check(rentals)
            Owed(self._town).nothing_runs(session)
            assert session.scalar(text("SELECT count(*) FROM dead_letter")) == 0

    def _slots(self, session: Session) -> None:
        """Every slot shows what is in it."""
        query = (
            select(Station.code, StationSlot.number, PowerBank.serial)
            .join(Station, Station.id == StationSlot.station_id)
            .outerjoin(PowerBank, PowerBank.id == StationSlot.power_bank_id)
            .where(Station.id.in_(self._town.station_ids))
        )
        shown = {(code, number): serial for code, number, serial in session.execute(query)}
        true = {
            (code, number): serial
            for code, cabinet in self._town.cabinets.items()
            for number, serial in cabinet.slots.items()
        }
        assert shown == true

    def _ride(self, session: Session, rental_id: UUID, deal: Deal) -> Ride:
        rental = session.get_one(Rental, rental_id)
        orders = session.scalars(
            select(DeviceCommand).where(DeviceCommand.rental_id == rental_id, DeviceCommand.kind == EJECT)
        ).all()
        ids = {order.id for order in orders}
        cabinets = self._town.cabinets.values()
        left = sorted((d for c in cabinets for d in c.departures if d.command_id in ids), key=lambda d: d.at)
        serial = session.get_one(PowerBank, rental.power_bank_id).serial
        sent = [order.sent_at for order in orders if order.sent_at is not None]
        return Ride(rental, deal, serial, sent, left, [self._arrival(each.serial, each.at) for each in left])

    def _arrival(self, serial: str, since: datetime) -> Arrival | None:
        """The first time that the bank was put in somewhere since then."""
        arrivals = (a for c in self._town.cabinets.values() for a in c.arrivals)
        return min((a for a in arrivals if a.serial == serial and a.at >= since), key=lambda a: a.at, default=None)

    def _rental(self, session: Session, ride: Ride) -> None:
        rental = ride.rental
        if not ride.left:
            known = rental.state in FAILED or ride.deal.corrected
            assert known, f"nothing left for {self._story(session, rental)}"
            assert (rental.charged_minor, rental.due_minor) == (0, 0)
        elif rental.state in FAILED:
            # What an operator had given back before is not taken off again.
            assert rental.charged_minor <= ride.deal.refunded
            assert rental.due_minor == 0
            accounted = ride.over_at is not None or any(self._looked_after(session, each.serial) for each in ride.left)
            assert accounted, "a bank nobody asks for"
        else:
            self._served(session, ride)

    def _served(self, session: Session, ride: Ride) -> None:
        """The rider had the bank: billed for no longer than from the order to the return."""
        rental, first = ride.rental, ride.left[0]
        assert rental.started_at is not None
        assert rental.started_at >= min([*ride.sent, first.at]), "billed before the order was out"
        over_at = self._over_at(ride)
        if len(ride.left) == 1 and not ride.deal.corrected:
            assert ride.serial == first.serial or ride.deal.swap_asked, f"it is about {ride.serial}"
        if over_at is not None:
            story = self._story(session, rental)
            assert rental.state in {_S.COMPLETED, _S.DISPUTED}, f"the bank is back: {story}"
            assert rental.ended_at is not None
            # By an operator's word alone, where the cabinet has lost its own.
            told = not ride.deal.corrected or not self._forgotten(ride)
            assert rental.ended_at <= over_at or not told, f"billed after giving it back: {story}"
        elif not ride.deal.swap_asked and not ride.deal.corrected:
            out = rental.state in {*RIDING, _S.BOUGHT_OUT} or (
                rental.state is _S.DISPUTED and rental.station_in_id is None
            )
            assert out, f"the bank is out: {self._story(session, rental)}"
        if self._clear(ride):
            assert rental.started_at == first.at, f"billed from another time: {self._story(session, rental)}"
            until = over_at is None or rental.ended_at == over_at or _kept_before(ride, over_at)
            assert until, f"billed until another: {self._story(session, rental)}"
        if ride.deal.over_by is not None and rental.ended_at is not None:
            assert rental.ended_at <= ride.deal.over_by
        for left in ride.left:
            back = self._arrival(left.serial, left.at) is not None
            theirs = left.serial == ride.serial and rental.state in {*RIDING, _S.BOUGHT_OUT, _S.DISPUTED}
            assert back or theirs or self._looked_after(session, left.serial)

    def _disputed(self, session: Session, ride: Ride) -> None:
        """For as long as the rider, or a rider's bank, waits for a decision."""
        if ride.rental.state not in {_S.COMPLETED, _S.BOUGHT_OUT, _S.DISPUTED}:
            return
        open_ = (
            select(CardDispute.id)
            .join(PaymentIntent, PaymentIntent.id == CardDispute.intent_id)
            .where(PaymentIntent.rental_id == ride.rental.id, CardDispute.state == DisputeStatus.OPEN)
        )
        waits = ride.deal.disputed or session.scalars(open_).first() is not None
        assert (ride.rental.state is _S.DISPUTED) == waits, self._story(session, ride.rental)

    def _over_at(self, ride: Ride) -> datetime | None:
        """When the rider had nothing any more; by an operator's word, it is another bank that had to come back."""
        said = ride.deal.reassigned
        again = said is not None and any(each.serial == said.serial and each.at > said.since for each in ride.left)
        if said is not None and ride.serial == said.serial and not again:
            back = self._arrival(said.serial, said.since)
            # It may have been back before the rider got any: no rental ends before it began.
            return None if back is None else max(back.at, ride.rental.started_at or back.at)
        if said is not None and ride.deal.swap_asked:  # that other bank was exchanged, for one that came or did not
            back = self._arrival(said.serial, said.since)
            return None if back is None or ride.over_at is None else max(back.at, ride.over_at)
        if ride.deal.swap_asked or said is not None:
            return ride.over_at
        return None if ride.back[0] is None else ride.back[0].at

    def _forgotten(self, ride: Ride) -> bool:
        lost = {serial for cabinet in self._town.cabinets.values() for serial in cabinet.forgotten}
        return ride.serial in lost or any(each.serial in lost for each in ride.left)

    def _clear(self, ride: Ride) -> bool:
        """Nothing about it was lost, exchanged or put right: everybody can know how it was, to the moment."""
        touched = ride.deal.corrected or ride.deal.swap_asked
        return len(ride.left) == 1 and not self._forgotten(ride) and not touched

    def _banks(self, session: Session) -> None:
        """Whatever is out is with a rider, was paid for, or is asked for."""
        inside = {serial for cabinet in self._town.cabinets.values() for serial in cabinet.slots.values()}
        for serial in set(self._town.banks) - inside:
            bank = session.scalars(select(PowerBank).where(PowerBank.serial == serial)).one()
            kept = select(Rental.id).where(
                Rental.power_bank_id == bank.id, Rental.state.in_([*RIDING, RentalState.BOUGHT_OUT, _S.DISPUTED])
            )
            assert session.scalars(kept).first() is not None or self._asked_for(session, serial), serial

    def _nothing_kept(self, session: Session) -> None:
        """Every reservation's time is over by now, and no slot waits for anybody."""
        for row in session.scalars(select(Reservation).where(Reservation.user_id.in_(self._town.riders))):
            kept = self._town.kept[row.id]
            assert row.state is not ReservationState.ACTIVE
            assert row.hold_transfer_id is None or row.state is not ReservationState.USED
            if kept.charge is not None:
                assert row.charged_minor == kept.charge, f"{kept} cost {row.charged_minor}"
        waiting = select(StationSlot.id).where(
            StationSlot.station_id.in_(self._town.station_ids), StationSlot.reserved_for.is_not(None)
        )
        assert session.scalars(waiting).all() == []

    def _story(self, session: Session, rental: Rental) -> str:
        """What a person needs to see why it went wrong."""
        query = select(RentalEvent).where(RentalEvent.rental_id == rental.id).order_by(RentalEvent.id)
        lines = [f"{each.at} {each.to_state} {each.why} {each.evidence}" for each in session.scalars(query)]
        orders = select(DeviceCommand).where(DeviceCommand.rental_id == rental.id).order_by(DeviceCommand.id)
        lines += [f"{each.sent_at} {each.kind} {each.args} {each.state}" for each in session.scalars(orders)]
        serial = session.scalars(select(PowerBank.serial).where(PowerBank.id == rental.power_bank_id)).one()
        for cabinet in self._town.cabinets.values():
            told = [*cabinet.said, *cabinet.departures, *cabinet.arrivals]
            lines += [f"{cabinet.code} {each}" for each in told if repr(serial) in repr(each) or "result" in repr(each)]
        return "\n".join([f"{rental.id}, {rental.state}, slot {rental.slot_out}", *lines])

    def _looked_after(self, session: Session, serial: str) -> bool:
        """Somebody asks for it, or an operator says that a rider of another rental has it."""
        holding = (
            select(Rental.id)
            .join(PowerBank, PowerBank.id == Rental.power_bank_id)
            .where(PowerBank.serial == serial, Rental.state.in_([*RIDING, _S.BOUGHT_OUT, _S.DISPUTED]))
        )
        said = [self._town.rentals[each].reassigned for each in session.scalars(holding)]
        return self._asked_for(session, serial) or any(each is not None and each.serial == serial for each in said)

    def _asked_for(self, session: Session, serial: str) -> bool:
        query = (
            select(OrphanBankCase.id)
            .join(PowerBank, PowerBank.id == OrphanBankCase.power_bank_id)
            .where(PowerBank.serial == serial, OrphanBankCase.state == CaseState.OPEN)
        )
        return session.scalars(query).first() is not None


def _kept_before(ride: Ride, back_at: datetime) -> bool:
    """It counted as lost or bought before it was back: the rental was over then, and what the bank cost came back."""
    rental, deal = ride.rental, ride.deal
    assert rental.started_at is not None
    assert rental.ended_at is not None
    had = used(rental.started_at, rental.ended_at, deal.stood_still())
    may = deal.fare.may_be_kept_for_good(rental.started_at, had - deal.granted, deal.packages)
    return rental.ended_at < back_at and may
