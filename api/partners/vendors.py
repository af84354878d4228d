"""What a franchise does with its own vendors, and with nobody else's. Each act is in the audit log."""

from uuid import UUID

from api.deps import Address, Now, RequestId, SessionDep
from api.paging import MAX_LIMIT
from api.partners.access import FranchiseDep
from api.partners.schemas import (
    AgreementIn,
    AgreementOut,
    Agreements,
    MemberIn,
    MemberOut,
    Members,
    PartnerOut,
    Partners,
    StationCode,
    VendorIn,
)
from api.problems import problems
from api.v1 import area
from fleet.partners import queries, service
from fleet.partners.models import PartnerKind
from fleet.partners.service import AgreementTerms
from fleet.users import audit

router = area("partner", "partners")


@router.get("/vendor", operation_id="partner_vendors", summary="Our vendors", responses=problems(401, 403))
def vendors(session: SessionDep, portal: FranchiseDep) -> Partners:
    """The newest hundred."""
    rows = queries.partners(session, MAX_LIMIT, parent_id=portal.partner.id)
    return Partners(items=[PartnerOut.model_validate(row) for row in rows])


@router.post("/vendor", operation_id="partner_create_vendor", summary="A new vendor of ours", status_code=201,
             responses=problems(401, 403))  # fmt: skip
def create(
    body: VendorIn, session: SessionDep, portal: FranchiseDep, now: Now, request_id: RequestId, address: Address
) -> PartnerOut:
    vendor = service.create_partner(
        session, name=body.name, kind=PartnerKind.VENDOR, now=now, parent_id=portal.partner.id,
        time_zone=body.time_zone,
    )  # fmt: skip
    audit.record(
        session, action="partner.create", now=now, actor_id=portal.user.id, target=str(vendor.id),
        detail=body.model_dump(), request_id=request_id, address=address,
    )  # fmt: skip
    return PartnerOut.model_validate(vendor)


@router.get("/vendor/{vendor_id}", operation_id="partner_vendor", summary="One of our vendors",
            responses=problems(401, 403, 404))  # fmt: skip
def show(vendor_id: UUID, session: SessionDep, portal: FranchiseDep) -> PartnerOut:
    return PartnerOut.model_validate(queries.vendor_of(session, portal.partner, vendor_id))


@router.get("/vendor/{vendor_id}/member", operation_id="partner_vendor_members", summary="The people of a vendor",
            responses=problems(401, 403, 404))  # fmt: skip
def members(vendor_id: UUID, session: SessionDep, portal: FranchiseDep) -> Members:
    vendor = queries.vendor_of(session, portal.partner, vendor_id)
    return Members(items=[MemberOut.model_validate(row) for row in queries.members(session, vendor.id)])


@router.post("/vendor/{vendor_id}/member", operation_id="partner_add_vendor_member", status_code=201,
             summary="Somebody works for a vendor of ours", responses=problems(401, 403, 404, 409))  # fmt: skip
def add_member(
    vendor_id: UUID, body: MemberIn, session: SessionDep, portal: FranchiseDep, now: Now, request_id: RequestId,
    address: Address,
) -> MemberOut:  # fmt: skip
    vendor = queries.vendor_of(session, portal.partner, vendor_id)
    member = service.add_member(session, vendor, body.address, actor_id=portal.user.id, now=now)
    audit.record(
        session, action="partner.add_member", now=now, actor_id=portal.user.id, user_id=member.user_id,
        target=str(vendor.id), request_id=request_id, address=address,
    )  # fmt: skip
    return MemberOut.model_validate(member)


@router.get("/vendor/{vendor_id}/agreement", operation_id="partner_vendor_agreements",
            summary="What we agreed with a vendor", responses=problems(401, 403, 404))  # fmt: skip
def agreements(vendor_id: UUID, session: SessionDep, portal: FranchiseDep) -> Agreements:
    vendor = queries.vendor_of(session, portal.partner, vendor_id)
    return Agreements(items=[AgreementOut.of(row) for row in queries.agreements(session, [vendor.id])])


@router.post("/vendor/{vendor_id}/agreement", operation_id="partner_agree_with_vendor", status_code=201,
             summary="Agree on what a vendor gets of our share", responses=problems(401, 403, 404, 409))  # fmt: skip
def agree(
    vendor_id: UUID, body: AgreementIn, session: SessionDep, portal: FranchiseDep, now: Now, request_id: RequestId,
    address: Address,
) -> AgreementOut:  # fmt: skip
    """It is paid out of our own share of a rental, and never exceeds it."""
    vendor = queries.vendor_of(session, portal.partner, vendor_id)
    station = None if body.station is None else queries.station_of(session, portal.partner, body.station, now)
    wanted = AgreementTerms(
        body.terms(), body.currency, 0, begins=body.valid_from or now, until=body.valid_to, station=station
    )
    row = service.agree(session, vendor, wanted, actor_id=portal.user.id, now=now)
    audit.record(
        session, action="partner.agree", now=now, actor_id=portal.user.id, target=str(vendor.id),
        detail=body.model_dump(mode="json"), request_id=request_id, address=address,
    )  # fmt: skip
    return AgreementOut.of(row)


@router.post("/vendor/{vendor_id}/agreement/{agreement_id}/end", operation_id="partner_end_vendor_agreement",
             summary="End an agreement with a vendor now", responses=problems(401, 403, 404))  # fmt: skip
def end_agreement(
    vendor_id: UUID, agreement_id: UUID, session: SessionDep, portal: FranchiseDep, now: Now, request_id: RequestId,
    address: Address,
) -> AgreementOut:  # fmt: skip
    vendor = queries.vendor_of(session, portal.partner, vendor_id)
    row = service.end_agreement(session, vendor, agreement_id, now)
    audit.record(
        session, action="partner.end_agreement", now=now, actor_id=portal.user.id, target=str(vendor.id),
        detail={"agreement": str(agreement_id)}, request_id=request_id, address=address,
    )  # fmt: skip
    return AgreementOut.of(row)


@router.put("/station/{code}/holder/{partner_id}", operation_id="partner_hand_over_station", status_code=204,
            summary="Give one of our stations to a vendor of ours, or back to us",
            responses=problems(401, 403, 404))  # fmt: skip
def hand_over(
    code: StationCode, partner_id: UUID, session: SessionDep, portal: FranchiseDep, now: Now, request_id: RequestId,
    address: Address,
) -> None:  # fmt: skip
    """Rentals that are requested from now on count for them."""
    own = partner_id == portal.partner.id
    holder = portal.partner if own else queries.vendor_of(session, portal.partner, partner_id)
    station = queries.station_of(session, portal.partner, code, now)
    service.hand_over(session, portal.partner, station, holder, now)
    audit.record(
        session, action="partner.hand_over", now=now, actor_id=portal.user.id, target=code,
        detail={"partner": str(holder.id)}, request_id=request_id, address=address,
    )  # fmt: skip
