"""Partners, their people, their stations, and what was agreed with them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fleet.common.errors import InvalidInput
from fleet.partners import queries
from fleet.partners.errors import (
    AgreementNotFound,
    AgreementOverlap,
    MemberElsewhere,
    StationNotTheirs,
    StationTaken,
)
from fleet.partners.models import (
    Partner,
    PartnerKind,
    PartnerMember,
    PartnerStation,
    PartnerStatus,
    RevenueAgreement,
    ShareKind,
)
from fleet.partners.rules import Terms
from fleet.stations.models import Station
from fleet.users.destinations import parse
from fleet.users.service import user_at


def create_partner(
    session: Session,
    *,
    name: str,
    kind: PartnerKind,
    now: datetime,
    parent_id: UUID | None = None,
    time_zone: str = "UTC",
) -> Partner:
    """Raises InvalidInput, PartnerNotFound for a parent that is not there."""
    if parent_id is not None:
        parent = queries.partner_by_id(session, parent_id)
        if kind is not PartnerKind.VENDOR or parent.kind is not PartnerKind.FRANCHISE:
            raise InvalidInput("only a vendor has a parent, and it is a franchise", field="parent_id")
    try:
        zone = ZoneInfo(time_zone).key
    except (KeyError, OSError, ValueError) as error:
        raise InvalidInput("not a time zone of the IANA database", field="time_zone") from error
    partner = Partner(
        name=name, kind=kind, parent_id=parent_id, status=PartnerStatus.ACTIVE, time_zone=zone, created_at=now
    )
    session.add(partner)
    session.flush()  # the caller answers with its id
    return partner


def set_status(session: Session, partner_id: UUID, status: PartnerStatus) -> Partner:
    """Suspend, or re-admit. Raises PartnerNotFound."""
    partner = queries.partner_by_id(session, partner_id)
    partner.status = status
    return partner


def add_member(
    session: Session, partner: Partner, destination: str, *, actor_id: UUID | None, now: datetime
) -> PartnerMember:
    """The person at a phone or e-mail address works for the partner; again changes nothing.

    They sign in as riders do, with a code sent there. Raises InvalidInput, MemberElsewhere.
    """
    user, _ = user_at(session, parse(destination), now)
    session.execute(
        insert(PartnerMember)
        .values(user_id=user.id, partner_id=partner.id, added_by=actor_id, added_at=now)
        .on_conflict_do_nothing(index_elements=["user_id"])
    )
    member = session.get_one(PartnerMember, user.id)
    if member.partner_id != partner.id:
        raise MemberElsewhere("this person works for another partner", user_id=user.id)
    return member


def remove_member(session: Session, partner: Partner, user_id: UUID) -> bool:
    """They see nothing from the next request on; False when they did not work there."""
    member = session.get(PartnerMember, user_id)
    if member is None or member.partner_id != partner.id:
        return False
    session.delete(member)
    return True


def assign_station(session: Session, station: Station, partner: Partner, now: datetime) -> PartnerStation:
    """From now on the station is this partner's; again changes nothing. Raises StationTaken while it is another's."""
    current = _current(session, station, now)
    if current is not None:
        if current.partner_id == partner.id:
            return current
        raise StationTaken(f"station {station.code} is another partner's", station=station.code)
    return _assign(session, station, partner, now)


def hand_over(
    session: Session, franchise: Partner, station: Station, partner: Partner, now: datetime
) -> PartnerStation:
    """Within a franchise: from now on the station is this vendor's, or the franchise's own again.

    Raises StationNotTheirs when it is not the franchise's or one of its vendors', looked at under the station's lock.
    """
    current = _current(session, station, now)
    holder = None if current is None else session.get_one(Partner, current.partner_id)
    if current is None or holder is None or franchise.id not in {holder.id, holder.parent_id}:
        raise StationNotTheirs(f"no station {station.code}", station=station.code)
    if holder.id == partner.id:
        return current
    current.valid_to = now
    session.flush()  # it makes way before the new one comes
    return _assign(session, station, partner, now)


def release_station(session: Session, station: Station, now: datetime) -> bool:
    """From now on it is nobody's; False when it was."""
    current = _current(session, station, now)
    if current is not None:
        current.valid_to = now
    return current is not None


def _current(session: Session, station: Station, now: datetime) -> PartnerStation | None:
    # The station's row orders two that come at once.
    session.execute(select(Station.id).where(Station.id == station.id).with_for_update(key_share=True))
    query = select(PartnerStation).where(
        PartnerStation.station_id == station.id,
        (PartnerStation.valid_to.is_(None)) | (PartnerStation.valid_to > now),
    )
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def _assign(session: Session, station: Station, partner: Partner, now: datetime) -> PartnerStation:
    row = PartnerStation(station_id=station.id, partner_id=partner.id, valid_from=now)
    session.add(row)
    session.flush()  # an overlap belongs to this call
    return row


@dataclass(frozen=True, slots=True)
class AgreementTerms:
    """`station` None: all stations without an agreement of their own. `until` None: until it is ended."""

    terms: Terms
    currency: str
    service_charge_bp: int
    begins: datetime
    until: datetime | None = None
    station: Station | None = None


def agree(
    session: Session, partner: Partner, wanted: AgreementTerms, *, actor_id: UUID | None, now: datetime
) -> RevenueAgreement:
    """Rentals that are requested from `begins` on count by it. Raises InvalidInput, AgreementOverlap."""
    if wanted.begins < now:
        raise InvalidInput("the past cannot be changed", field="valid_from")
    if wanted.until is not None and wanted.until <= wanted.begins:
        raise InvalidInput("it ends after it begins", field="valid_to")
    percent = wanted.terms.kind is ShareKind.PERCENT
    row = RevenueAgreement(
        partner_id=partner.id,
        station_id=None if wanted.station is None else wanted.station.id,
        kind=wanted.terms.kind,
        basis_points=wanted.terms.value if percent else None,
        fixed_minor=None if percent else wanted.terms.value,
        currency=wanted.currency,
        service_charge_bp=wanted.service_charge_bp,
        valid_from=wanted.begins,
        valid_to=wanted.until,
        created_by=actor_id,
        created_at=now,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        if "ex_revenue_agreement_overlap" not in str(error.orig):
            raise
        raise AgreementOverlap("an agreement for the same stations holds then already") from error
    return row


def end_agreement(session: Session, partner: Partner, agreement_id: UUID, at: datetime) -> RevenueAgreement:
    """It holds until `at`, not before now; one that has not begun never will. Raises AgreementNotFound."""
    query = select(RevenueAgreement).where(
        RevenueAgreement.id == agreement_id, RevenueAgreement.partner_id == partner.id
    )
    row = session.scalars(query.with_for_update()).one_or_none()
    if row is None:
        raise AgreementNotFound("no such agreement", agreement_id=agreement_id)
    if row.valid_to is None or row.valid_to > at:
        row.valid_to = max(at, row.valid_from)
    return row
