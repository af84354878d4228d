"""The whole trail of one rental, in time order: what was asked, ordered, sent, received, moved and paid."""

from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from fleet.common.money import Money
from fleet.devices.models import CommandState, DeviceCommand
from fleet.devices.queries import Frame, commands_of_rental, frames_of_rental
from fleet.payments.models import LedgerAccount, LedgerTransfer, TransferState
from fleet.rentals.cases.models import OrphanBankCase
from fleet.rentals.corrections.models import RentalDispute
from fleet.rentals.corrections.service import target as target_of
from fleet.rentals.models import Rental, RentalEvent
from fleet.rentals.queries import rental_by_id
from fleet.rentals.records.trace_entries import TraceEntry, iso
from fleet.rentals.records.trace_payments import payments
from fleet.rentals.underway.models import RentalIssue
from fleet.stations.models import PowerBank, PowerBankMovement, Station
from fleet.users import audit
from fleet.users.models import User

#: Entries of one instant are shown in the order in which one leads to the other.
_ORDER: Final = (
    "request", "act", "payment", "transfer", "state_change", "command", "frame_sent", "frame_received", "movement",
    "report", "case",
)  # fmt: skip


def trace(session: Session, rental_id: UUID) -> list[TraceEntry]:
    """Raises RentalNotFound."""
    rental = rental_by_id(session, rental_id)
    events = list(
        session.scalars(select(RentalEvent).where(RentalEvent.rental_id == rental_id).order_by(RentalEvent.id))
    )
    refs = [str(event.evidence["device_event"]) for event in events if "device_event" in event.evidence]
    entries = [
        _request(session, rental),
        *_further_requests(rental, events),
        *(_state_change(event) for event in events),
        *(entry for command in commands_of_rental(session, rental_id) for entry in _command(command)),
        *(_frame(frame) for frame in frames_of_rental(session, rental_id, refs)),
        *_movements(session, rental),
        *payments(session, rental_id),
        *_transfers(session, rental_id),
        *_cases(session, rental),
        *_reports(session, rental),
        *_disputes(session, rental),
        *_acts(session, rental),
    ]
    return sorted(entries, key=lambda entry: (entry.at, _ORDER.index(entry.kind)))


def _request(session: Session, rental: Rental) -> TraceEntry:
    where = f"station {rental.station_out.code}"
    detail = {
        "request_id": rental.request_id,
        "user_id": str(rental.user_id),
        "guest": session.get_one(User, rental.user_id).guest,
        "terms": rental.terms,
    }
    return TraceEntry("request", rental.requested_at, f"rental asked for at {where}", detail)


def _further_requests(rental: Rental, events: Sequence[RentalEvent]) -> Iterator[TraceEntry]:
    """Each HTTP request that changed something after the start, the rider's and operators', once."""
    known = {rental.request_id}
    for event in events:
        asked = event.evidence.get("request")
        if asked is not None and asked not in known:
            known.add(asked)
            yield TraceEntry("request", event.recorded_at, f"asked for: {event.why}", {"request_id": asked})


def _state_change(event: RentalEvent) -> TraceEntry:
    before = event.from_state
    told = f"{before or 'new'} → {event.to_state}" if before is not event.to_state else f"{event.to_state}"
    detail = {
        "from": before,
        "to": event.to_state,
        "why": event.why,
        "evidence": event.evidence,
        "happened_at": iso(event.at),
    }
    return TraceEntry("state_change", event.recorded_at, f"{told}: {event.why}", detail)


def _command(command: DeviceCommand) -> Iterator[TraceEntry]:
    """The order, and its end when it has one."""
    about = {"id": str(command.id), "type": command.kind}
    ordered = {**about, "args": command.args, "deadline": iso(command.deadline), "request_id": command.request_id}
    yield TraceEntry("command", command.created_at, f"{command.kind} ordered", ordered)
    if command.settled_at is not None and command.state is not CommandState.QUEUED:
        ended = {
            **about,
            "state": command.state,
            "outcome": command.outcome,
            "code": command.code,
            "slot": command.result_slot,
            "serial": command.result_serial,
            "attempts": command.attempt,
        }
        yield TraceEntry("command", command.settled_at, f"{command.kind} {command.state}", ended)


def _frame(frame: Frame) -> TraceEntry:
    kind = "frame_sent" if frame.sent else "frame_received"
    detail = {
        "station": frame.station_code,
        "type": frame.type,
        "boot": frame.boot,
        "seq": frame.seq,
        "body": frame.body,
    }
    return TraceEntry(kind, frame.at, f"{frame.type} {'to' if frame.sent else 'from'} {frame.station_code}", detail)


def _movements(session: Session, rental: Rental) -> Iterator[TraceEntry]:
    query = (
        select(PowerBankMovement, PowerBank.serial, Station.code)
        .join(PowerBank, PowerBank.id == PowerBankMovement.power_bank_id)
        .join(Station, Station.id == PowerBankMovement.station_id)
        .where(PowerBankMovement.rental_id == rental.id)
        .order_by(PowerBankMovement.id)
    )
    for movement, serial, code in session.execute(query):
        detail = {
            "bank": serial,
            "station": code,
            "slot": movement.slot_number,
            "charge_pct": movement.charge_pct,
            "event": f"{code}:{movement.boot}:{movement.seq}",
        }
        summary = f"bank {serial} {movement.kind}, {code} slot {movement.slot_number}"
        yield TraceEntry("movement", movement.at, summary, detail)


def _transfers(session: Session, rental_id: UUID) -> Iterator[TraceEntry]:
    """Each transfer when it was made, and a hold once more when it was posted or voided."""
    debit, credit = aliased(LedgerAccount), aliased(LedgerAccount)
    query = (
        select(LedgerTransfer, debit.kind, credit.kind)
        .join(debit, debit.id == LedgerTransfer.debit_account_id)
        .join(credit, credit.id == LedgerTransfer.credit_account_id)
        .where(LedgerTransfer.rental_id == rental_id)
        .order_by(LedgerTransfer.id)
    )
    for transfer, source, target in session.execute(query):
        detail = {
            "id": str(transfer.id),
            "kind": transfer.kind,
            "from": source,
            "to": target,
            "amount_minor": transfer.amount_minor,
            "posted_minor": transfer.posted_minor,
            "currency": transfer.currency,
            "state": transfer.state,
            "memo": transfer.memo,
        }
        amount = Money(transfer.amount_minor, transfer.currency)
        yield TraceEntry("transfer", transfer.created_at, f"{transfer.kind} of {amount}", detail)
        if transfer.settled_at is not None and transfer.settled_at != transfer.created_at:
            posted = Money(transfer.posted_minor or 0, transfer.currency)
            ended = f"posted for {posted}" if transfer.state is TransferState.POSTED else "voided"
            yield TraceEntry("transfer", transfer.settled_at, f"{transfer.kind} {ended}", detail)


def _cases(session: Session, rental: Rental) -> Iterator[TraceEntry]:
    query = select(OrphanBankCase).where(OrphanBankCase.rental_id == rental.id).order_by(OrphanBankCase.id)
    for case in session.scalars(query):
        detail = {
            "id": str(case.id),
            "reason": case.reason,
            "slot": case.slot_number,
            "evidence": case.evidence,
            "state": case.state,
            "resolution": case.resolution,
        }
        yield TraceEntry("case", case.opened_at, f"orphan case: {case.reason}", detail)


def _reports(session: Session, rental: Rental) -> Iterator[TraceEntry]:
    """What the rider reported, and its end when it has one."""
    query = select(RentalIssue).where(RentalIssue.rental_id == rental.id).order_by(RentalIssue.id)
    for issue in session.scalars(query):
        detail = {"id": str(issue.id), "kind": issue.kind, "note": issue.note, "resolution": issue.resolution}
        yield TraceEntry("report", issue.reported_at, f"rider reports: {issue.kind}", detail)
        if issue.resolved_at is not None:
            yield TraceEntry("report", issue.resolved_at, f"report closed: {issue.kind}", detail)


def _disputes(session: Session, rental: Rental) -> Iterator[TraceEntry]:
    query = select(RentalDispute).where(RentalDispute.rental_id == rental.id)
    for dispute in session.scalars(query):
        detail = {"id": str(dispute.id), "reason": dispute.reason, "note": dispute.note, "decision": dispute.decision}
        yield TraceEntry("report", dispute.opened_at, f"rider disputes the price: {dispute.reason}", detail)
        if dispute.decided_at is not None:
            back = {**detail, "refund_minor": dispute.refund_minor}
            yield TraceEntry("report", dispute.decided_at, f"dispute {dispute.state}: {dispute.decision}", back)


def _acts(session: Session, rental: Rental) -> Iterator[TraceEntry]:
    for row in audit.about(session, target_of(rental.id)):
        detail = {"by": None if row.actor_id is None else str(row.actor_id), "request_id": row.request_id, **row.detail}
        yield TraceEntry("act", row.at, f"operator: {row.action}", detail)
