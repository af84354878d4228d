"""Partners: who they are, what is theirs, and what was agreed."""

from uuid import UUID

from pydantic import ConfigDict

from api.admin.acts import ActsDep
from api.auth import CurrentOperator
from api.deps import Now, RuntimeDep, SessionDep
from api.paging import DEFAULT_LIMIT
from api.partners.schemas import (
    AgreementIn,
    AgreementOut,
    Agreements,
    MemberIn,
    MemberOut,
    Members,
    Name,
    PartnerOut,
    PartnerSelf,
    ShareOut,
    StationCode,
    TimeZone,
)
from api.problems import problems
from api.schemas import Currency, Cursor, Input, Limit, Page
from api.v1 import area
from fleet.partners import payouts, queries, service
from fleet.partners.errors import StationNotTheirs
from fleet.partners.models import PartnerKind, PartnerStatus
from fleet.partners.service import AgreementTerms
from fleet.stations.queries import find_station

router = area("admin", "admin")


class PartnerIn(Input):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Region north", "kind": "franchise", "time_zone": "Europe/Zurich"}]}
    )

    name: Name
    kind: PartnerKind
    parent_id: UUID | None = None
    time_zone: TimeZone = "UTC"


class PartnerStatusIn(Input):
    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "suspended"}]})

    status: PartnerStatus


@router.get("/partner", operation_id="admin_list_partners", summary="Franchises and vendors, newest first",
            responses=problems(401, 403))  # fmt: skip
def list_partners(
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    parent_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[PartnerOut]:
    before = runtime.cursors.read("partners", cursor)
    rows = queries.partners(session, limit + 1, UUID(before) if before else None, parent_id)
    more = runtime.cursors.make("partners", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[PartnerOut.model_validate(row) for row in rows[:limit]], next=more)


@router.post("/partner", operation_id="admin_create_partner", summary="A new franchise or vendor", status_code=201,
             responses=problems(401, 403, 404))  # fmt: skip
def create(body: PartnerIn, acts: ActsDep) -> PartnerOut:
    partner = service.create_partner(acts.session, now=acts.now, **body.model_dump())
    acts.record("partner.create", target=str(partner.id), detail=body.model_dump(mode="json"))
    return PartnerOut.model_validate(partner)


@router.get("/partner/{partner_id}", operation_id="admin_get_partner", summary="One partner and what it is owed",
            responses=problems(401, 403, 404))  # fmt: skip
def show(
    partner_id: UUID,
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    now: Now,
    currency: Currency | None = None,
) -> PartnerSelf:
    partner = queries.partner_by_id(session, partner_id)
    return PartnerSelf.of(partner, payouts.balance(session, partner_id, currency or runtime.settings.currency, now))


@router.post("/partner/{partner_id}/status", operation_id="admin_set_partner_status", summary="Suspend or re-admit",
             responses=problems(401, 403, 404))  # fmt: skip
def set_status(partner_id: UUID, body: PartnerStatusIn, acts: ActsDep) -> PartnerOut:
    """A suspended partner's people see nothing; what it earns is still booked."""
    partner = service.set_status(acts.session, partner_id, body.status)
    acts.record("partner.status", target=str(partner_id), detail=body.model_dump(mode="json"))
    return PartnerOut.model_validate(partner)


@router.get("/partner/{partner_id}/member", operation_id="admin_list_partner_members", summary="Its people",
            responses=problems(401, 403, 404))  # fmt: skip
def members(partner_id: UUID, session: SessionDep, _: CurrentOperator) -> Members:
    partner = queries.partner_by_id(session, partner_id)
    return Members(items=[MemberOut.model_validate(row) for row in queries.members(session, partner.id)])


@router.post("/partner/{partner_id}/member", operation_id="admin_add_partner_member", status_code=201,
             summary="Somebody works for it", responses=problems(401, 403, 404, 409))  # fmt: skip
def add_member(partner_id: UUID, body: MemberIn, acts: ActsDep) -> MemberOut:
    """They sign in with a code, as riders do. One person works for one partner."""
    partner = queries.partner_by_id(acts.session, partner_id)
    member = service.add_member(acts.session, partner, body.address, actor_id=acts.operator.id, now=acts.now)
    acts.record("partner.add_member", user_id=member.user_id, target=str(partner_id))
    return MemberOut.model_validate(member)


@router.delete("/partner/{partner_id}/member/{user_id}", operation_id="admin_remove_partner_member", status_code=204,
               summary="Somebody works for it no more", responses=problems(401, 403, 404))  # fmt: skip
def remove_member(partner_id: UUID, user_id: UUID, acts: ActsDep) -> None:
    partner = queries.partner_by_id(acts.session, partner_id)
    if service.remove_member(acts.session, partner, user_id):
        acts.record("partner.remove_member", user_id=user_id, target=str(partner_id))


@router.put("/partner/{partner_id}/station/{code}", operation_id="admin_assign_station", status_code=204,
            summary="A station is its from now on", responses=problems(401, 403, 404, 409))  # fmt: skip
def assign(partner_id: UUID, code: StationCode, acts: ActsDep) -> None:
    partner = queries.partner_by_id(acts.session, partner_id)
    service.assign_station(acts.session, find_station(acts.session, code), partner, acts.now)
    acts.record("partner.assign_station", target=code, detail={"partner": str(partner_id)})


@router.delete("/partner/{partner_id}/station/{code}", operation_id="admin_release_station", status_code=204,
               summary="A station is its no more", responses=problems(401, 403, 404))  # fmt: skip
def release(partner_id: UUID, code: StationCode, acts: ActsDep) -> None:
    station = find_station(acts.session, code)
    holder = queries.holder_at(acts.session, station.id, acts.now)
    if holder is None or holder.id != partner_id:
        raise StationNotTheirs(f"station {code} is not this partner's", station=code)
    service.release_station(acts.session, station, acts.now)
    acts.record("partner.release_station", target=code, detail={"partner": str(partner_id)})


@router.get("/partner/{partner_id}/agreement", operation_id="admin_list_agreements", summary="What was agreed",
            responses=problems(401, 403, 404))  # fmt: skip
def agreements(partner_id: UUID, session: SessionDep, _: CurrentOperator) -> Agreements:
    partner = queries.partner_by_id(session, partner_id)
    return Agreements(items=[AgreementOut.of(row) for row in queries.agreements(session, [partner.id])])


@router.post("/partner/{partner_id}/agreement", operation_id="admin_agree", summary="Agree on its share",
             status_code=201, responses=problems(401, 403, 404, 409))  # fmt: skip
def agree(partner_id: UUID, body: AgreementIn, acts: ActsDep) -> AgreementOut:
    """Rentals that are requested while it holds count by it, whenever they end."""
    partner = queries.partner_by_id(acts.session, partner_id)
    wanted = AgreementTerms(
        body.terms(),
        body.currency,
        body.service_charge_bp,
        begins=body.valid_from or acts.now,
        until=body.valid_to,
        station=None if body.station is None else find_station(acts.session, body.station),
    )
    row = service.agree(acts.session, partner, wanted, actor_id=acts.operator.id, now=acts.now)
    acts.record("partner.agree", target=str(partner_id), detail=body.model_dump(mode="json"))
    return AgreementOut.of(row)


@router.post("/partner/{partner_id}/agreement/{agreement_id}/end", operation_id="admin_end_agreement",
             summary="End an agreement now", responses=problems(401, 403, 404))  # fmt: skip
def end_agreement(partner_id: UUID, agreement_id: UUID, acts: ActsDep) -> AgreementOut:
    partner = queries.partner_by_id(acts.session, partner_id)
    row = service.end_agreement(acts.session, partner, agreement_id, acts.now)
    acts.record("partner.end_agreement", target=str(partner_id), detail={"agreement": str(agreement_id)})
    return AgreementOut.of(row)


@router.get("/partner/{partner_id}/share", operation_id="admin_list_shares", summary="What it earned, newest first",
            responses=problems(401, 403, 404))  # fmt: skip
def shares(
    partner_id: UUID,
    session: SessionDep,
    runtime: RuntimeDep,
    _: CurrentOperator,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ShareOut]:
    before = runtime.cursors.read("admin shares", cursor)
    partner = queries.partner_by_id(session, partner_id)
    rows = queries.shares(session, partner.id, limit + 1, UUID(before) if before else None)
    more = runtime.cursors.make("admin shares", str(rows[limit - 1].id)) if len(rows) > limit else None
    return Page(items=[ShareOut.of(row) for row in rows[:limit]], next=more)
