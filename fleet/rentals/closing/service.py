"""How a rental ends, and what becomes of its money. The wallet, the rental and its command are locked by the caller."""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.payments import holds, rental_payments
from fleet.payments.debts import service as debts
from fleet.payments.invoices import TEXT_MAX, Bill, Line, issue
from fleet.payments.models import AccountKind
from fleet.rentals.models import Rental, RentalState, RentalSwap, StartEvidence, SwapState
from fleet.rentals.pricing import subscribed
from fleet.rentals.pricing.adjustments import Adjustment, free_time
from fleet.rentals.pricing.gross import bought_at, due_after
from fleet.rentals.pricing.meter import FOREVER, Paused, moment, put_off
from fleet.rentals.pricing.price import LineKind, Price, PriceLine, free_of_charge, price, recorded
from fleet.rentals.pricing.terms import Prepaid, TariffTerms
from fleet.rentals.states import Evidence, move, note, unreserve
from fleet.stations.health import count_discharge
from fleet.stations.models import PowerBank, PowerBankState, StationSlot

NOT_TAKEN = "not_taken"
CANCELLED = "cancelled"
TOO_LONG = "the time with the bank was shorter than was thought"


def terms_of(rental: Rental) -> TariffTerms:
    return TariffTerms.from_json(rental.terms)


def prepaid_of(rental: Rental, at: datetime | None = None) -> tuple[Prepaid, ...]:
    """What was paid for beforehand. `at`: what was bought later is left out; the bank was back by then."""
    found = (Prepaid.from_json(each) for each in rental.prepaid)
    return tuple(each for each in found if at is None or each.bought_at is None or each.bought_at <= at)


def adjustments_of(rental: Rental) -> tuple[Adjustment, ...]:
    return tuple(Adjustment.from_json(each) for each in rental.adjustments)


def paused_of(rental: Rental) -> Paused:
    """When its clock stood still; FOREVER where a pause has no end yet."""
    return [(moment(begin), FOREVER if end is None else moment(end)) for begin, end in rental.paused]


def price_at(rental: Rental, at: datetime, *, bought: bool | None = None) -> Price:
    """What the rental costs when the bank comes back at `at`: for no longer than until it counted as bought or lost.

    `bought` (None: as the books say): it does not come back, its price is due too, and nothing is taken off.
    """
    bought = is_kept(rental) if bought is None else bought
    terms = terms_of(rental)
    if not bought:
        terms, at = terms.brought_back(), min(at, rental.buyout_at or at)
    if rental.started_at is None:
        return free_of_charge(terms, LineKind.NOT_STARTED, "The bank has not left yet")
    return price(
        terms,
        rental.started_at,
        max(at, rental.started_at),
        paused_of(rental),
        time_zone=rental.time_zone,
        prepaid=prepaid_of(rental, at),
        adjustments=() if bought else adjustments_of(rental),
    )


def is_kept(rental: Rental) -> bool:
    """Closed without its bank, which counts as bought or lost; disputed or not."""
    disputed = rental.state is RentalState.DISPUTED and rental.station_in_id is None
    return rental.state is RentalState.BOUGHT_OUT or (disputed and rental.ended_at == rental.buyout_at)


def closed_as(rental: Rental) -> RentalState:
    """What a rental that was disputed is again."""
    return RentalState.BOUGHT_OUT if is_kept(rental) else RentalState.COMPLETED


def set_start(rental: Rental, at: datetime, told: StartEvidence) -> None:
    """When the bank left, and what follows from it."""
    rental.started_at, rental.start_evidence = at, told
    set_due(rental)


def set_due(rental: Rental) -> None:
    """When it becomes overdue and when it is bought out, by its start, its terms and its pauses; None: never."""
    at = rental.started_at
    assert at is not None
    terms, prepaid, paused = terms_of(rental), prepaid_of(rental), paused_of(rental)
    rental.overdue_at = put_off(at, due_after(terms, prepaid), paused)
    bought = bought_at(terms, at, rental.time_zone, prepaid)
    kept = None if bought is None else bought + free_time(adjustments_of(rental)) - at
    rental.buyout_at = None if kept is None else put_off(at, kept, paused)


@dataclass(frozen=True, slots=True)
class Return:
    """A bank back in a slot: since when, and what that is for the rider (`why`; NOT_TAKEN is free).

    `slot` None: nobody knows where, but an operator says that the rider has it no more.
    """

    at: datetime
    slot: StationSlot | None
    charge_pct: int | None
    why: str


def complete(session: Session, rental: Rental, back: Return, *, evidence: Evidence, now: datetime) -> None:
    """The bank is back: charge for the time until then, which is brought between the start and now."""
    ended_at = _ended(rental, back, now)
    result = _price_of(rental, back, ended_at)
    _charge(session, rental, result, _parts(result), now)
    _note_return(session, rental, back, ended_at)
    move(session, rental, RentalState.COMPLETED, why=back.why, evidence=evidence, at=ended_at, now=now)


def correct_end(session: Session, rental: Rental, back: Return, *, evidence: Evidence, now: datetime) -> None:
    """Word came of an earlier return than the one that closed the rental: what was overcharged is given back."""
    assert rental.ended_at is not None
    evidence = {**evidence, "before": rental.ended_at.isoformat()}
    ended_at = _ended(rental, back, now)
    _cheaper(session, rental, _price_of(rental, back, ended_at), "end_corrected", now)
    _note_return(session, rental, back, ended_at)
    if rental.state is RentalState.BOUGHT_OUT:
        move(session, rental, RentalState.COMPLETED, why="end_corrected", evidence=evidence, at=ended_at, now=now)
    else:
        note(session, rental, rental.state, why="end_corrected", evidence=evidence, at=ended_at, now=now)


def _ended(rental: Rental, back: Return, now: datetime) -> datetime:
    assert rental.started_at is not None
    return max(rental.started_at, min(back.at, now))


def _price_of(rental: Rental, back: Return, ended_at: datetime) -> Price:
    if back.why == NOT_TAKEN:
        return free_of_charge(terms_of(rental), LineKind.NOT_TAKEN, "The bank was not taken: free of charge")
    return price_at(rental, ended_at, bought=False)


def _note_return(session: Session, rental: Rental, back: Return, ended_at: datetime) -> None:
    rental.ended_at, rental.charge_in_pct = ended_at, back.charge_pct
    if back.slot is not None:
        rental.station_in_id, rental.slot_in = back.slot.station_id, back.slot.number
    if back.why == NOT_TAKEN:
        rental.failure_code = NOT_TAKEN
    count_use(session, rental)


def taken_pct(charge_out_pct: int | None, charge_in_pct: int | None) -> int:
    """What was taken out of a bank, as far as is known."""
    return 0 if charge_out_pct is None or charge_in_pct is None else max(0, charge_out_pct - charge_in_pct)


def count_use(session: Session, rental: Rental) -> None:
    """Its bank's cycles hold what it took out of the bank, whichever of both measurements came last."""
    taken = taken_pct(rental.charge_out_pct, rental.charge_in_pct)
    if taken != rental.discharged_pct:
        bank = session.get_one(PowerBank, rental.power_bank_id, with_for_update={"key_share": True})
        count_discharge(bank, taken - rental.discharged_pct)
        rental.discharged_pct = taken


def call_off(session: Session, rental: Rental, *, evidence: Evidence, now: datetime) -> None:
    """A bank that was back at once was of no use: what was paid comes back, nothing is owed."""
    nothing = free_of_charge(terms_of(rental), LineKind.CANCELLED, "Cancelled: the bank was back at once")
    _cheaper(session, rental, nothing, CANCELLED, now, reason="cancelled, the bank was back at once")
    rental.failure_code = CANCELLED
    move(session, rental, RentalState.CANCELLED, why="cancelled_by_rider", evidence=evidence, at=now, now=now)


def buy_out(session: Session, rental: Rental, *, evidence: Evidence, now: datetime) -> None:
    """The bank counts as bought, for the whole of the total cap, or as lost, for the fee: no coupon buys a bank."""
    assert rental.buyout_at is not None
    rental.ended_at = rental.buyout_at
    result = price_at(rental, rental.buyout_at, bought=True)
    _charge(session, rental, result, _parts(result, bought=True), now)
    lost = any(line.kind == LineKind.LOST_FEE for line in result.lines)
    why = "lost" if lost else "total_cap"
    move(session, rental, RentalState.BOUGHT_OUT, why=why, evidence=evidence, at=rental.buyout_at, now=now)
    bank = session.get_one(PowerBank, rental.power_bank_id, with_for_update={"key_share": True}, populate_existing=True)
    if bank.state in {PowerBankState.RENTED, PowerBankState.MISSING}:
        bank.state, bank.updated_at = PowerBankState.LOST, now


def bring_back(session: Session, rental: Rental, back: Return, *, evidence: Evidence, now: datetime) -> None:
    """A bank that counted as bought or lost is back: its price is given back, the time until then stays paid for.

    A rental that is disputed stays so: the operator decides about what it costs by then.
    """
    assert rental.ended_at is not None
    result = price_at(rental, rental.ended_at, bought=False)
    _cheaper(session, rental, result, "brought_back", now, reason="the power bank was brought back")
    _note_return(session, rental, back, rental.ended_at)
    if rental.state is RentalState.DISPUTED:
        note(session, rental, rental.state, why="brought_back", evidence=evidence, at=back.at, now=now)
    else:
        move(session, rental, RentalState.COMPLETED, why="brought_back", evidence=evidence, at=back.at, now=now)


def give_up(
    session: Session,
    rental: Rental,
    *,
    to: RentalState,
    why: str,
    code: str | None,
    evidence: Evidence,
    at: datetime,
    now: datetime,
) -> None:
    """Nothing left the cabinet, as far as is known: hold released, slot free. `to` is one of rules.FAILED.

    Of an exchange: no other bank came, and the rental ended when the rider's was back.
    """
    if rental.swapped_at is not None:
        _end_without_swap(session, rental, code=code, evidence=evidence, now=now)
        return
    holds.release_holds(session, rental.id, now)
    subscribed.release(session, rental, now)
    _settle_card(session, rental, 0, now)
    rental.failure_code = None if code is None else code[:64]
    unreserve(session, rental)
    move(session, rental, to, why=why, evidence=evidence, at=at, now=now)


def _end_without_swap(session: Session, rental: Rental, *, code: str | None, evidence: Evidence, now: datetime) -> None:
    """The books are again about the bank that the rider gave back."""
    unreserve(session, rental)
    assert rental.swapped_at is not None
    swap = session.get_one(RentalSwap, rental.swap_id)
    swap.state, swap.ended_at = SwapState.FAILED, now
    rental.power_bank_id = swap.old_bank_id
    rental.station_out_id, rental.slot_out, rental.charge_out_pct = (
        swap.old_station_id, swap.old_slot, swap.old_charge_out_pct,
    )  # fmt: skip
    rental.station_in_id, rental.slot_in, rental.charge_in_pct = (
        swap.station_id, swap.returned_slot, swap.old_charge_in_pct,
    )  # fmt: skip
    rental.discharged_pct = taken_pct(swap.old_charge_out_pct, swap.old_charge_in_pct)
    rental.ended_at = rental.swapped_at
    rental.swap_id = rental.swapped_at = None
    result = price_at(rental, rental.ended_at, bought=False)
    _charge(session, rental, result, _parts(result), now)
    evidence = {**evidence, "code": code}
    move(session, rental, RentalState.COMPLETED, why="swap_failed", evidence=evidence, at=rental.ended_at, now=now)


def annul(
    session: Session,
    rental: Rental,
    *,
    why: str,
    code: str,
    evidence: Evidence,
    at: datetime,
    now: datetime,
    to: RentalState = RentalState.EJECT_FAILED,
) -> None:
    """Nothing ever left for this rental, although it was thought so: what was paid comes back, nothing is owed.

    `to`: one of rules.FAILED; that of a rental that is closed already is EJECT_FAILED.
    """
    evidence = {**evidence, "before": None if rental.started_at is None else rental.started_at.isoformat()}
    if rental.ended_at is None:
        give_up(session, rental, to=to, why=why, code=code, evidence=evidence, at=at, now=now)
    else:
        nothing = free_of_charge(terms_of(rental), LineKind.NEVER_LEFT, "The bank never left for this rental")
        _cheaper(session, rental, nothing, why, now)
        rental.failure_code = code[:64]
        move(session, rental, RentalState.EJECT_FAILED, why=why, evidence=evidence, at=at, now=now)
    rental.started_at = rental.ended_at = rental.overdue_at = rental.buyout_at = rental.start_evidence = None
    rental.station_in_id = rental.slot_in = rental.charge_in_pct = None
    count_use(session, rental)


def correct_start(
    session: Session, rental: Rental, at: datetime, told: StartEvidence, *, evidence: Evidence, now: datetime
) -> None:
    """Better word came of when the bank left. What was overcharged is given back."""
    before = rental.started_at
    assert before is not None
    at = max(at, rental.requested_at) if rental.ended_at is None else min(max(at, rental.requested_at), rental.ended_at)
    kept = is_kept(rental)
    set_start(rental, at, told)
    if kept and rental.buyout_at is not None:
        rental.ended_at = rental.buyout_at
    if rental.ended_at is not None and rental.failure_code != NOT_TAKEN:
        _cheaper(session, rental, price_at(rental, rental.ended_at), "start_corrected", now)
    note(
        session,
        rental,
        rental.state,
        why="start_corrected",
        evidence={**evidence, "before": before.isoformat()},
        at=at,
        now=now,
    )


def _parts(result: Price, *, bought: bool = False) -> list[tuple[AccountKind, Money]]:
    """Without tax what is the house's, and the tax, which is not."""
    net = result.total_minor - result.tax_minor
    own = (
        {AccountKind.BUYOUT_REVENUE: net}
        if bought
        else {AccountKind.UNLOCK_FEES: result.unlock_minor, AccountKind.REVENUE: result.usage_minor}
    )
    parts = {**own, AccountKind.TAX: result.tax_minor}
    return [(kind, Money(amount, result.currency)) for kind, amount in parts.items() if amount > 0]


def _lines(result: Price) -> list[object]:
    return [asdict(line) for line in result.lines]


def _charge(
    session: Session, rental: Rental, result: Price, parts: list[tuple[AccountKind, Money]], now: datetime
) -> None:
    if result.total_minor:
        captured = holds.capture_for_rental(
            session,
            hold_id=rental.hold_transfer_id,
            rental_id=rental.id,
            user_id=rental.user_id,
            parts=parts,
            now=now,
            points_max_minor=rental.points_max_minor,
        )
        rental.charged_minor, rental.due_minor = captured.charged_minor, captured.due_minor
        if captured.due_minor:
            owed = Money(captured.due_minor, result.currency)
            debts.incur(session, user_id=rental.user_id, rental_id=rental.id, money=owed, now=now)
    else:
        holds.release_holds(session, rental.id, now)
    subscribed.settle(session, rental, result, now)
    _settle_card(session, rental, rental.due_minor, now)
    rental.price_minor, rental.price_lines = result.total_minor, _lines(result)
    issue(session, _bill(rental, result), now)


def _settle_card(session: Session, rental: Rental, owed_minor: int, now: datetime) -> None:
    """The card pays what the wallet lacks: as soon as it is taken, it is collected as a debt is."""
    if rental.intent_id is not None:
        rental_payments.settle(session, rental.id, owed_minor, now)


def _bill(rental: Rental, result: Price) -> Bill:
    tax = terms_of(rental).tax
    return Bill(
        user_id=rental.user_id,
        rental_id=rental.id,
        currency=result.currency,
        total_minor=result.total_minor,
        tax_minor=result.tax_minor,
        tax_name=tax.name,
        tax_bp=tax.basis_points,
        lines=[Line(line.kind, line.text, line.amount_minor) for line in result.lines],
    )


def reduce_price(session: Session, rental: Rental, by_minor: int, *, text: str, key: str, now: datetime) -> None:
    """A person decided that a closed rental costs so much less (minor units, at most its price); once per `key`.

    What is owed is owed no more, then what was paid comes back. `text` explains the line, on the invoice too.
    """
    total, text = (rental.price_minor or 0) - by_minor, text[:TEXT_MAX]
    lines = (*(PriceLine(**line) for line in rental.price_lines or []), PriceLine(LineKind.REFUND, text, -by_minor))
    _cheaper(session, rental, recorded(terms_of(rental), total, lines), key, now, reason=text)


def _cheaper(
    session: Session, rental: Rental, result: Price, key: str, now: datetime, *, reason: str = TOO_LONG
) -> None:
    """A closed rental only ever becomes cheaper: first what is owed is owed no more, then what was given up was never
    owed, then what was paid comes back.
    """
    too_much = (rental.price_minor or 0) - result.total_minor
    if result.applied or result.total_minor == 0:  # else a person's word, which says nothing about the time
        subscribed.settle(session, rental, result, now)
    if too_much <= 0:
        return
    rental.price_minor, rental.price_lines = result.total_minor, _lines(result)
    issue(session, _bill(rental, result), now, reason)
    owed = given_up = 0
    if rental.due_minor or rental.written_off_minor:
        owed, given_up = debts.reduce(session, rental.id, too_much, now)
        rental.due_minor -= owed
        rental.written_off_minor -= given_up
    refund = too_much - owed - given_up
    # An operator may have given some of it back already; a fact must not fail for that.
    left = holds.charged_for(session, rental.id) - holds.refunded_for(session, rental.id)
    refund = min(refund, left)
    if refund > 0:
        holds.refund_rental(
            session,
            rental_id=rental.id,
            money=Money(refund, rental.currency),
            reason=reason,
            # The price falls with every correction: a key of its own for each, the same for a repetition.
            key=f"{key}:{result.total_minor}",
            now=now,
        )
        rental.charged_minor -= refund
