"""Who sees what. A franchise sees its vendors; nobody sees anybody else, and cannot tell that they exist."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, func, literal, or_, select
from sqlalchemy.orm import Session, joinedload

from fleet.common.errors import InvalidInput
from fleet.partners.errors import NotAPartner, PartnerNotFound, StationNotTheirs
from fleet.partners.models import (
    Partner,
    PartnerMember,
    PartnerStation,
    PartnerStatus,
    RevenueAgreement,
    RevenueShare,
)
from fleet.stations.models import Station, StationSlot

#: Days, weeks or months of one report.
PERIODS_MAX: Final = 400


def partner_of(session: Session, user_id: UUID) -> Partner:
    """For whom the person works. Raises NotAPartner."""
    query = select(Partner).join(PartnerMember).where(PartnerMember.user_id == user_id)
    partner = session.scalars(query).one_or_none()
    if partner is None or partner.status is not PartnerStatus.ACTIVE:
        raise NotAPartner("this account belongs to no partner")
    return partner


def partner_by_id(session: Session, partner_id: UUID) -> Partner:
    """For operators. Raises PartnerNotFound."""
    partner = session.get(Partner, partner_id)
    if partner is None:
        raise PartnerNotFound("no such partner", partner_id=partner_id)
    return partner


def vendor_of(session: Session, franchise: Partner, vendor_id: UUID) -> Partner:
    """One of the franchise's own vendors. Raises PartnerNotFound."""
    query = select(Partner).where(Partner.id == vendor_id, Partner.parent_id == franchise.id)
    vendor = session.scalars(query).one_or_none()
    if vendor is None:
        raise PartnerNotFound("no such vendor", partner_id=vendor_id)
    return vendor


def partners(session: Session, limit: int, before: UUID | None = None, parent_id: UUID | None = None) -> list[Partner]:
    """Newest first; `parent_id`: the vendors of a franchise."""
    query = select(Partner).order_by(Partner.id.desc()).limit(limit)
    if parent_id is not None:
        query = query.where(Partner.parent_id == parent_id)
    if before is not None:
        query = query.where(Partner.id < before)
    return list(session.scalars(query))


def members(session: Session, partner_id: UUID) -> list[PartnerMember]:
    query = select(PartnerMember).where(PartnerMember.partner_id == partner_id).order_by(PartnerMember.added_at)
    return list(session.scalars(query))


@dataclass(frozen=True, slots=True)
class OwnStation:
    """As its partner sees it. `partner_id`: whose it is, the caller's own or a vendor's."""

    station: Station
    partner_id: UUID
    partner_name: str
    banks: int


def stations(session: Session, partner: Partner, now: datetime, limit: int, after: int = 0) -> list[OwnStation]:
    """The partner's stations and, of a franchise, those of its vendors, by id; those after `after`."""
    banks = (
        select(func.count())
        .where(StationSlot.station_id == Station.id, StationSlot.power_bank_id.is_not(None))
        .scalar_subquery()
    )
    query = (
        select(Station, Partner.id, Partner.name, banks)
        .join(PartnerStation, PartnerStation.station_id == Station.id)
        .join(Partner, Partner.id == PartnerStation.partner_id)
        .where(_held_at(now), seen_by(partner), Station.id > after)
        .order_by(Station.id)
        .limit(limit)
    )
    return [OwnStation(*row) for row in session.execute(query)]


def station_of(session: Session, partner: Partner, code: str, now: datetime) -> Station:
    """One of them. Raises StationNotTheirs, which does not tell whether there is such a station."""
    query = (
        select(Station)
        .join(PartnerStation, PartnerStation.station_id == Station.id)
        .join(Partner, Partner.id == PartnerStation.partner_id)
        .where(Station.code == code, _held_at(now), seen_by(partner))
    )
    station = session.scalars(query).one_or_none()
    if station is None:
        raise StationNotTheirs(f"no station {code}", station=code)
    return station


def _held_at(at: datetime) -> ColumnElement[bool]:
    return (PartnerStation.valid_from <= at) & or_(PartnerStation.valid_to.is_(None), PartnerStation.valid_to > at)


def seen_by(partner: Partner) -> ColumnElement[bool]:
    """Of `Partner`: itself and, of a franchise, its vendors."""
    return or_(Partner.id == partner.id, Partner.parent_id == partner.id)


def holder_at(session: Session, station_id: int, at: datetime) -> Partner | None:
    """Whose the station was then."""
    query = (
        select(Partner)
        .join(PartnerStation, PartnerStation.partner_id == Partner.id)
        .where(PartnerStation.station_id == station_id, _held_at(at))
    )
    return session.scalars(query).one_or_none()


def agreement_at(session: Session, partner_id: UUID, station_id: int, at: datetime) -> RevenueAgreement | None:
    """What held then: the station's own agreement before the one for all stations."""
    query = (
        select(RevenueAgreement)
        .where(
            RevenueAgreement.partner_id == partner_id,
            or_(RevenueAgreement.station_id.is_(None), RevenueAgreement.station_id == station_id),
            RevenueAgreement.valid_from <= at,
            or_(RevenueAgreement.valid_to.is_(None), RevenueAgreement.valid_to > at),
        )
        .order_by(RevenueAgreement.station_id.asc().nulls_last())
        .limit(1)
    )
    return session.scalars(query).one_or_none()


def agreements(session: Session, partner_ids: Iterable[UUID]) -> list[RevenueAgreement]:
    """All of them, newest first."""
    query = select(RevenueAgreement).where(RevenueAgreement.partner_id.in_(list(partner_ids)))
    return list(session.scalars(query.order_by(RevenueAgreement.id.desc())))


def shares(session: Session, partner_id: UUID, limit: int, before: UUID | None = None) -> list[RevenueShare]:
    """What the partner earned, newest first, with its stations."""
    query = (
        select(RevenueShare)
        .where(RevenueShare.partner_id == partner_id)
        .order_by(RevenueShare.id.desc())
        .limit(limit)
        .options(joinedload(RevenueShare.station, innerjoin=True))
    )
    if before is not None:
        query = query.where(RevenueShare.id < before)
    return list(session.scalars(query))


class Period(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Revenue:
    """Of one period of the partner's own calendar, which begins on `begins`; minor units of one currency."""

    begins: date
    rentals: int
    gross_minor: int
    net_minor: int
    amount_minor: int


def revenue(
    session: Session, partner: Partner, *, currency: str, period: Period, first: date, last: date
) -> list[Revenue]:
    """What was earned in each period from that of `first` to that of `last`, empty ones too.

    As it stands now: a refund lowers the period in which the rental was closed. Raises InvalidInput.
    """
    begins = _periods(period, first, last)
    zone = ZoneInfo(partner.time_zone)
    start = datetime.combine(begins[0], time(), zone)
    end = datetime.combine(_next(period, begins[-1]), time(), zone)
    local = func.timezone(partner.time_zone, RevenueShare.at)
    bucket = func.date_trunc(literal(period.value), local).label("bucket")
    query = (
        select(
            bucket,
            func.count(),
            func.sum(RevenueShare.gross_minor),
            func.sum(RevenueShare.net_minor),
            func.sum(RevenueShare.amount_minor),
        )
        .where(
            RevenueShare.partner_id == partner.id,
            RevenueShare.currency == currency,
            RevenueShare.at >= start,
            RevenueShare.at < end,
        )
        .group_by(bucket)
    )
    found = {row[0].date(): row for row in session.execute(query)}
    return [
        Revenue(day, *(int(value) for value in found[day][1:])) if day in found else Revenue(day, 0, 0, 0, 0)
        for day in begins
    ]


def _periods(period: Period, first: date, last: date) -> list[date]:
    day = _begin(period, first)
    found: list[date] = []
    while day <= last and len(found) <= PERIODS_MAX:
        found.append(day)
        day = _next(period, day)
    if not 1 <= len(found) <= PERIODS_MAX:
        raise InvalidInput(f"from before to, and at most {PERIODS_MAX} periods", field="from")
    return found


def _begin(period: Period, day: date) -> date:
    """Weeks begin on Monday."""
    if period is Period.MONTH:
        return day.replace(day=1)
    return day - timedelta(days=day.weekday()) if period is Period.WEEK else day


def _next(period: Period, day: date) -> date:
    if period is Period.MONTH:
        return (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return day + timedelta(days=7 if period is Period.WEEK else 1)
