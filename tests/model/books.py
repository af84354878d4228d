"""What must hold after every single step, whatever has not been told yet: the books against the model's own sums."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from fleet.devices.models import DeviceCommand
from fleet.payments import proof
from fleet.payments.models import LedgerTransfer, TransferState
from fleet.rentals.cases.models import CaseState, OrphanBankCase
from fleet.rentals.models import OPEN_STATES, Rental, RentalState
from fleet.rentals.rules import RIDING
from fleet.rentals.starts.models import Reservation, ReservationState
from fleet.stations.models import PowerBank, Station, StationSlot
from tests.model import hearsay
from tests.model.backend import Backend
from tests.model.deals import Deal
from tests.model.fares import used
from tests.model.minutes import check_minutes, is_free_as_not_taken
from tests.model.owed import Owed
from tests.model.points import check_points
from tests.model.taken import Taken
from tests.model.town import Town

NOT_TAKEN: Final = timedelta(seconds=60)
CALL_OFF: Final = timedelta(minutes=5)
_S = RentalState
#: Moves on with whatever is written.
_WRITTEN: Final = text("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
#: Changes with whatever the proof looks at.
_MOVED: Final = text("""
    SELECT concat_ws(';', (SELECT concat_ws(',', count(*), sum(posted_minor), count(*) FILTER (WHERE state = 'pending'))
                             FROM ledger_transfer),
                          (SELECT string_agg(state, ',' ORDER BY id) FROM payment_intent),
                          (SELECT string_agg(state, ',' ORDER BY id) FROM money_out),
                          (SELECT string_agg(state, ',' ORDER BY id) FROM card_dispute))""")


def expected(rental: Rental, deal: Deal) -> int:
    """What a closed rental costs by the model, from when to when the backend thinks that the rider had the bank."""
    if rental.started_at is None or rental.ended_at is None:
        return 0
    had = rental.ended_at - rental.started_at
    if rental.state is _S.CANCELLED:
        assert deal.called_off
        assert had <= CALL_OFF
        return 0
    if is_free_as_not_taken(rental):
        assert had <= NOT_TAKEN
        return 0
    packages = deal.packages_until(rental.ended_at)
    time = used(rental.started_at, rental.ended_at, deal.stood_still())
    kept = is_kept(rental)
    if kept:
        assert deal.fare.may_be_kept_for_good(rental.started_at, time - deal.granted, packages), "bought too early"
    else:
        time = deal.fare.counted(time, packages, deal.granted)
    cost = deal.fare.cost(rental.started_at, time, packages, kept=kept, granted=deal.granted)
    return min([cost, *deal.at_most])


def is_kept(rental: Rental) -> bool:
    """Closed without the bank: it counts as lost or bought."""
    disputed = rental.state is _S.DISPUTED and rental.station_in_id is None and rental.ended_at == rental.buyout_at
    return rental.state is _S.BOUGHT_OUT or disputed


class Books:
    def __init__(self, backend: Backend, town: Town) -> None:
        self._backend = backend
        self._town = town
        self._seen: int | None = None
        self._proven: str | None = None
        self._owed = Owed(town)

    def check(self) -> None:
        with Session(self._backend.engine) as session:
            written = session.scalar(_WRITTEN)
            if written == self._seen:
                return
            self._seen = written
            rentals = session.scalars(select(Rental).where(Rental.user_id.in_(self._town.riders))).all()
            assert {each.id for each in rentals} == set(self._town.rentals), "a rental that nobody asked for"
            hearsay.follow(session, self._town, [each.id for each in rentals])
            self._prices(session, rentals)
            self._owed.check(session, rentals)
            Taken(session, self._town).check()
            self._holds(session)
            self._reservations(session)
            self._banks(session, rentals)
            self._proof(session)
            session.rollback()

    def _proof(self, session: Session) -> None:
        """The ledger's own, whenever money has moved."""
        moved = session.scalar(_MOVED)
        if moved != self._proven:
            assert proof.prove(session, self._backend.now).problems == ()
            self._proven = moved

    # Money

    def _prices(self, session: Session, rentals: Sequence[Rental]) -> None:
        paid = self._paid(session, [each.id for each in rentals])
        got = self._got(session, rentals)
        for rental in rentals:
            deal = self._town.rentals[rental.id]
            price = 0 if rental.state in OPEN_STATES else expected(rental, deal)
            self._not_taken(session, rental)
            assert (rental.price_minor or 0) == price, f"{rental.id} {rental.state} costs {price}"
            given_up = 0 if deal.given_up is None else deal.given_up.left(price)
            assert rental.written_off_minor == given_up
            told = rental.charged_minor + rental.due_minor + given_up
            assert told == price or (deal.refunded and told > price)
            left = max(0, price - rental.due_minor - given_up - deal.refunded)
            assert paid[rental.id] == left, f"{rental.id} {rental.state}"
            assert price == 0 or rental.id in got, "charged for a bank that never left"
        check_points(session, self._town, rentals, paid)
        check_minutes(session, self._town, rentals)

    def _not_taken(self, session: Session, rental: Rental) -> None:
        """Only what was put back where it came from; that it had been elsewhere before may be told later, and what is
        free stays free.
        """
        there = (rental.station_in_id, rental.slot_in) == (rental.station_out_id, rental.slot_out)
        assert there or rental.failure_code != "not_taken"
        if there or rental.started_at is None or not is_free_as_not_taken(rental):
            return
        code = session.scalars(select(Station.code).where(Station.id == rental.station_out_id)).one()
        serial = session.scalars(select(PowerBank.serial).where(PowerBank.id == rental.power_bank_id)).one()
        back = [each for each in self._town.cabinets[code].arrivals if each.slot == rental.slot_out]
        assert any(each.serial == serial and each.at >= rental.started_at for each in back), "it was taken"

    def _paid(self, session: Session, ids: Sequence[UUID]) -> Counter[UUID]:
        """What went from wallets to the house for each rental, less what came back."""
        rows = session.execute(
            select(LedgerTransfer.rental_id, LedgerTransfer.kind, func.sum(LedgerTransfer.posted_minor))
            .where(
                LedgerTransfer.rental_id.in_(ids),
                LedgerTransfer.kind.in_(("rental_hold", "rental_charge", "rental_refund")),
                LedgerTransfer.state == TransferState.POSTED,
            )
            .group_by(LedgerTransfer.rental_id, LedgerTransfer.kind)
        )
        paid: Counter[UUID] = Counter()
        for rental_id, kind, minor in rows:
            if rental_id is not None and minor is not None:
                paid[rental_id] += -int(minor) if kind == "rental_refund" else int(minor)
        return paid

    def _got(self, session: Session, rentals: Sequence[Rental]) -> set[UUID | None]:
        """Rentals whose orders really moved a bank."""
        moved = {each.command_id for cabinet in self._town.cabinets.values() for each in cabinet.departures}
        orders = select(DeviceCommand.id, DeviceCommand.rental_id).where(
            DeviceCommand.rental_id.in_([each.id for each in rentals])
        )
        return {rental_id for order, rental_id in session.execute(orders) if order in moved}

    def _holds(self, session: Session) -> None:
        """Money is set aside for open rentals only."""
        query = text("""
            SELECT t.id, r.state FROM ledger_transfer t JOIN rental r ON r.id = t.rental_id
             WHERE t.kind = 'rental_hold' AND t.state = 'pending' AND r.user_id = ANY(:riders)
               AND r.state NOT IN ('ejecting', 'eject_unknown', 'active', 'overdue')""")
        held: Sequence[Row[tuple[object, ...]]] = session.execute(query, {"riders": self._town.riders}).all()
        assert held == []

    def _reservations(self, session: Session) -> None:
        rows = session.scalars(select(Reservation).where(Reservation.user_id.in_(self._town.riders))).all()
        assert {each.id for each in rows} == set(self._town.kept)
        paid = self._fees(session)
        for row in rows:
            kept = self._town.kept[row.id]
            active = row.state is ReservationState.ACTIVE
            if kept.over:
                assert row.charged_minor == 0
                assert row.state in {ReservationState.USED, ReservationState.CANCELLED} or active
            assert row.charged_minor in {0, kept.fee}
            assert paid[f"reservation:{row.id}"] == row.charged_minor
            waits = row.hold_transfer_id is not None and active
            assert paid[f"held:{row.id}"] == (kept.fee if waits else 0)

    def _fees(self, session: Session) -> Counter[str]:
        sums: Counter[str] = Counter()
        for each in session.scalars(select(LedgerTransfer).where(LedgerTransfer.kind == "reservation_fee")):
            name = each.idempotency_key.split(":")[1]
            sums[f"reservation:{name}"] += each.posted_minor or 0
            sums[f"held:{name}"] += each.amount_minor if each.state is TransferState.PENDING else 0
        return sums

    # Metal

    def _banks(self, session: Session, rentals: Sequence[Rental]) -> None:
        """Every bank is in one slot, with one rider, or looked for; never in two places."""
        banks = {
            bank.id: bank for bank in session.scalars(select(PowerBank).where(PowerBank.serial.in_(self._town.banks)))
        }
        slots = Counter(session.scalars(select(StationSlot.power_bank_id).where(StationSlot.power_bank_id.in_(banks))))
        riding = Counter(each.power_bank_id for each in rentals if each.state in RIDING)
        kept = {each.power_bank_id for each in rentals if is_kept(each)}
        cases = select(OrphanBankCase.power_bank_id).where(
            OrphanBankCase.power_bank_id.in_(banks), OrphanBankCase.state == CaseState.OPEN
        )
        asked_for = set(session.scalars(cases))
        for bank_id, bank in banks.items():
            places = slots[bank_id] + riding[bank_id]
            assert places <= 1, f"{bank.serial} is in {places} places"
            assert places or bank_id in kept | asked_for, f"{bank.serial} is nowhere"
