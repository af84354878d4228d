"""Each partner's share of each rental: computed from what was paid and given back, posted by difference.

It does not matter which news came first, or how often: the outcome is that of the last one (decision 0152).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.common.money import Money
from fleet.partners import queries
from fleet.partners.models import Partner, RevenueAgreement, RevenueShare, ShareKind
from fleet.partners.rules import Division, Terms, divide
from fleet.partners.takings import book_tax, takings_of
from fleet.payments import ledger
from fleet.payments.models import AccountKind
from fleet.rentals.models import Rental

SHARE: Final = "partner_share"
REVERSAL: Final = "partner_share_reversal"


@dataclass(frozen=True, slots=True)
class Party:
    partner: Partner
    agreement: RevenueAgreement

    def terms(self, currency: str) -> Terms:
        """A fixed amount of another currency than the rental's is none."""
        if self.agreement.kind is ShareKind.PERCENT:
            return Terms(ShareKind.PERCENT, self.agreement.basis_points or 0)
        fixed = (self.agreement.fixed_minor or 0) if self.agreement.currency == currency else 0
        return Terms(ShareKind.FIXED, fixed)


def settle_rental(session: Session, rental_id: UUID, now: datetime) -> int:
    """Bring the tax and the partners' shares of a rental to what was paid and not given back; how many transfers.

    Safe twice, at once, and in any order of news. Locks the rental, then the partners' accounts.
    """
    query = select(Rental).where(Rental.id == rental_id).with_for_update(key_share=True)
    rental = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if rental is None:
        return 0
    moved = int(book_tax(session, rental.id, rental.currency, now) > 0)
    parties = parties_of(session, rental)
    if not parties:
        return moved
    takings = takings_of(session, rental.id)
    service_bp = parties[-1].agreement.service_charge_bp
    division = divide(takings, service_bp, [party.terms(rental.currency) for party in parties])
    return moved + _bring(session, rental, parties, division, now)


def parties_of(session: Session, rental: Rental) -> list[Party]:
    """Who has a share, from below: by the station the bank left from, as things stood when the rental was requested.

    A vendor whose franchise has no agreement has none either: it would be paid out of nothing.
    """
    holder = queries.holder_at(session, rental.station_out_id, rental.requested_at)
    if holder is None:
        return []
    above = None if holder.parent_id is None else session.get_one(Partner, holder.parent_id)
    root = above or holder
    found = []
    for partner in (holder, above):
        if partner is None:
            continue
        agreement = queries.agreement_at(session, partner.id, rental.station_out_id, rental.requested_at)
        if agreement is not None:
            found.append(Party(partner, agreement))
    return found if any(party.partner.id == root.id for party in found) else []


def _bring(session: Session, rental: Rental, parties: list[Party], division: Division, now: datetime) -> int:
    query = select(RevenueShare).where(RevenueShare.rental_id == rental.id)
    known = {row.partner_id: row for row in session.scalars(query.execution_options(populate_existing=True))}
    accounts = {
        party.partner.id: ledger.account_for(
            session, party.partner.id, AccountKind.PARTNER_PAYABLE, rental.currency, now
        ).id
        for party in parties
    }
    ledger.lock_accounts(session, *accounts.values())  # in one order: another rental may have the same parties
    moved = 0
    for party, amount in zip(parties, division.parts, strict=True):
        row = known.get(party.partner.id)
        if row is None and division.gross == 0:
            continue  # nothing was paid: nothing to tell
        row = row or _row(rental, party, now)
        posted = _post(session, row, accounts[party.partner.id], amount, now)
        # All at once: no query in between may write half of it.
        row.gross_minor, row.tax_minor = division.gross, division.tax
        row.service_charge_minor, row.net_minor = division.service_charge, division.net
        row.amount_minor, row.postings, row.updated_at = amount, row.postings + posted, now
        session.add(row)
        moved += posted
    session.flush()  # a refusal of the database belongs to this call
    return moved


def _row(rental: Rental, party: Party, now: datetime) -> RevenueShare:
    return RevenueShare(
        rental_id=rental.id,
        partner_id=party.partner.id,
        agreement_id=party.agreement.id,
        station_id=rental.station_out_id,
        currency=rental.currency,
        amount_minor=0,
        postings=0,
        at=rental.closed_at or now,
        updated_at=now,
    )


def _post(session: Session, row: RevenueShare, account: UUID, amount: int, now: datetime) -> int:
    difference = amount - row.amount_minor
    if difference == 0:
        return 0
    expense = ledger.house_accounts(session, row.currency, now)[AccountKind.PARTNER_SHARES]
    ledger.transfer(
        session,
        debit=expense if difference > 0 else account,
        credit=account if difference > 0 else expense,
        money=Money(abs(difference), row.currency),
        kind=SHARE if difference > 0 else REVERSAL,
        key=f"share:{row.rental_id}:{row.partner_id}:{row.postings + 1}",
        now=now,
        rental_id=row.rental_id,
        may_overdraw=True,  # what was paid out already is owed back
    )
    return 1
